use adwp_report::BudgetRow;
use serde_json::{Map, Value, json};

use crate::markup::{html, section};
use crate::sample::{Searched, report, searched};

fn page(searched: &Searched) -> String {
    let mut report = report();
    report.genotype = searched.genotype.clone();
    html(&report, &searched.metrics, Some(&searched.space))
}

/// Rises with the epoch in every third row, and falls in the others.
fn drifting(_: &str, row: usize, epoch: usize) -> Value {
    let share = epoch as f64 / 20.0;
    json!(if row.is_multiple_of(3) { 0.1 + 0.8 * share } else { 0.1 - 0.1 * share })
}

/// What stands under a heading of a phase, in a section.
fn phase<'a>(section: &'a str, name: &str) -> &'a str {
    let rest = section
        .split(&format!("<h3>{name}</h3>"))
        .nth(1)
        .unwrap_or_else(|| panic!("no phase {name}"));
    rest.split("<h3>").next().unwrap()
}

fn figure<'a>(part: &'a str, title: &str) -> &'a str {
    let rest = part
        .split(&format!("<figcaption>{title}"))
        .nth(1)
        .unwrap_or_else(|| panic!("no figure {title}"));
    rest.split("</figure>").next().unwrap()
}

#[test]
fn every_candidate_has_a_row_and_those_kept_a_dot() {
    let page = page(&searched(14, 20, drifting));
    let candidates = section(&page, "Candidates");
    let (space, search) = (phase(candidates, "space"), phase(candidates, "search"));
    let count = |part: &str, text: &str| part.matches(text).count();
    assert_eq!([count(space, "<figure>"), count(search, "<figure>")], [2, 14]);
    assert_eq!(
        [count(space, "<rect class=\"row\""), count(search, "<rect class=\"row\"")],
        [2 * 14 * 8, 14 * 4 * 6]
    );
    assert_eq!(
        [count(space, "<circle class=\"kept\""), count(search, "<circle class=\"kept\"")],
        [2 * 4 * 6, 14 * 4 * 2]
    );
    assert_eq!(count(space, ">k−1 → node 4<"), 2);
    assert!(
        search.contains("<figcaption>Cell 2, reduction</figcaption>")
            && search.contains("<figcaption>Cell 13, normal</figcaption>")
    );
    assert_eq!(count(search, ">k−2 · dil conv 5×5</text>"), 14 * 4);
    assert_eq!(count(figure(search, "Cell 0"), ">4 · identity</text>"), 1);
    // Epochs are those of the phase: the lists begin at 20.
    assert!(
        search.contains("<title>k−2 · sep conv 3×3: 0.100 at epoch 20, 0.860 at epoch 39</title>")
    );
    // The stage that has no probabilities is not there; that which has looks as in the curves.
    assert!(!search.contains("hypernetwork") && search.contains("<rect class=\"stage s1\""));
    // The chosen epoch is marked on each edge.
    assert_eq!(count(space, "<line class=\"mark\""), 2 * 14);
}

#[test]
fn a_probability_that_stays_is_one_stroke() {
    // Three epochs; row 0 rises, row 1 has a gap, the others stay.
    let value = |name: &str, row: usize, epoch: usize| match (name, row, epoch) {
        ("search", 0, 2) => json!(0.9),
        ("search", 1, 1) => Value::Null,
        ("search", 1, _) => json!(0.5),
        _ => json!(0.0),
    };
    let page = page(&searched(1, 3, value));
    let search = phase(section(&page, "Candidates"), "search");
    assert!(
        search.contains("<path class=\"h0\" d=\"M0 0h2M0 2h3M0 3h3M0 4h3M0 5h3\"/>"),
        "{search}"
    );
    assert!(
        search.contains("<path class=\"h5\" d=\"M0 1h1M2 1h1\"/><path class=\"h8\" d=\"M2 0h1\"/>")
    );
    assert!(search.contains("<div class=\"scale\">0.00 ") && search.contains("</span> 0.90</div>"));
}

#[test]
fn small_preferences_show() {
    let page = page(&searched(1, 2, |_, row, _| json!(0.125 + row as f64 * 1e-5)));
    let space = phase(section(&page, "Candidates"), "space");
    // 224 rows differ by 0.0022 in all.
    assert!(
        space.contains("<div class=\"scale\">0.1250 ") && space.contains("</span> 0.1272</div>")
    );
    for step in 0..9 {
        assert!(space.contains(&format!("<path class=\"h{step}\"")), "{step}");
    }
}

#[test]
fn what_is_no_number_from_0_to_1_is_a_gap() {
    for strange in
        [json!(null), json!("0.5"), json!(1.5), json!(-0.1), json!(1e308), json!({"p": 0.5})]
    {
        let page = page(&searched(2, 4, |_, row, epoch| {
            if (row + epoch).is_multiple_of(2) { strange.clone() } else { json!(0.25) }
        }));
        let candidates = section(&page, "Candidates");
        assert!(candidates.contains("M1 0h1M3 0h1M0 1h1M2 1h1"), "{strange}");
        assert!(!candidates.contains("NaN") && !candidates.contains("inf"));
    }
    let nothing = page(&searched(2, 4, |_, _, _| Value::Null));
    assert!(
        section(&nothing, "Candidates")
            .contains("The metrics have no probabilities of candidates.")
    );
}

#[test]
fn probabilities_of_another_form_are_not_drawn() {
    let broken = [
        json!(null),
        json!("even"),
        json!([]),
        json!([[]]),
        json!([[0.5, 0.25, 0.25]]),
        json!([vec![0.5; 24], vec![0.5; 23]]),
        json!({}),
        json!({"normal": [0.5]}),
        json!({"normal": {"0": 0.5}, "reduction": null}),
    ];
    for form in broken {
        let mut searched = searched(2, 2, drifting);
        for line in &mut searched.metrics {
            line.insert("probabilities".to_owned(), form.clone());
        }
        let page = page(&searched);
        assert!(
            section(&page, "Candidates")
                .contains("The metrics have no probabilities of candidates."),
            "{form}"
        );
    }
    // One line of another form is a gap in the others.
    let mut searched = searched(1, 3, |_, _, _| json!(0.25));
    searched.metrics[1].insert("probabilities".to_owned(), json!([1]));
    assert!(phase(section(&page(&searched), "Candidates"), "space").contains("M0 0h1M2 0h1"));
}

#[test]
fn without_a_space_candidates_are_numbered() {
    let searched = searched(3, 4, drifting);
    let mut report = report();
    report.genotype = searched.genotype.clone();
    for space in
        [None, Some(&json!({"normal": 3})), Some(&json!({"normal": [[]], "reduction": []}))]
    {
        let page = html(&report, &searched.metrics, space);
        let search = phase(section(&page, "Candidates"), "search");
        assert_eq!(search.matches(">candidate 6</text>").count(), 3 * 4);
        assert!(!search.contains("class=\"kept\""));
    }
    // The genotype of another search says nothing of these cells.
    report.genotype = searched.genotype["cells"][0].clone();
    let page = html(&report, &searched.metrics, Some(&searched.space));
    assert!(
        phase(section(&page, "Candidates"), "search").contains("<figcaption>Cell 0</figcaption>")
    );
}

#[test]
fn names_in_a_space_are_escaped() {
    let mut searched = searched(1, 2, drifting);
    searched.space["normal"][0][0]["op"] = json!("<b>\u{1}");
    searched.metrics[0].insert("operation_shares".to_owned(), json!({"<i>&": 1.0}));
    let page = page(&searched);
    assert!(page.contains(">k−2 · &lt;b&gt;\u{fffd}</text>") && page.contains("&lt;i&gt;&amp; "));
    assert!(!page.contains("<b>") && !page.contains("<i>&"));
}

#[test]
fn a_long_search_is_a_small_page() {
    // All that can be against it: no probability stays in its step.
    let restless =
        |_: &str, row: usize, epoch: usize| json!((row * 7 + epoch * 5) as f64 % 9.0 / 9.0 + 0.01);
    let page = page(&searched(14, 120, restless));
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
}

#[test]
fn shares_are_stacked() {
    let mut searched = searched(2, 20, drifting);
    let curves = page(&searched);
    let shares = |page: &str| {
        figure(phase(section(page, "Curves"), "search"), "Operations of the likeliest network")
            .to_owned()
    };
    let drawn = shares(&curves);
    // In the order of the search space, with the last values: 0.5, 0.25 and 19 of 40.
    let names: Vec<usize> = ["sep conv 3×3 50.0<", "max pool 3×3 25.0<", "identity 47.5<"]
        .map(|name| drawn.find(name).unwrap())
        .to_vec();
    assert!(names.is_sorted(), "{drawn}");
    let columns = |drawn: &str| {
        let path = drawn.split("<path class=\"share o0\"").nth(1).unwrap();
        path.split("/path>").next().unwrap().matches('M').count()
    };
    // A column for each epoch that was measured.
    assert_eq!(columns(&drawn), 20);

    let count = searched.metrics.len();
    for (line, strange) in
        [json!(null), json!(-0.5), json!("many"), json!(2.0)].into_iter().enumerate()
    {
        searched.metrics[count - 1 - line].insert(
            "operation_shares".to_owned(),
            json!({"identity": strange, "sep_conv_3x3": 0.5}),
        );
    }
    searched.metrics[count - 5].insert("operation_shares".to_owned(), json!([0.5, 0.5]));
    assert_eq!(columns(&shares(&page(&searched))), 15);
}

#[test]
fn the_likeliest_network_has_its_cost() {
    let page = page(&searched(2, 20, drifting));
    let search = phase(section(&page, "Curves"), "search");
    assert!(figure(search, "Parameters of the likeliest network").contains("parameters 3.02<"));
    assert!(
        figure(search, "Multiply-adds of the likeliest network").contains("multiply-adds 500<")
    );
}

#[test]
fn the_chosen_epoch_is_marked() {
    let mut searched = searched(1, 20, drifting);
    let chosen = page(&searched);
    let space = phase(section(&chosen, "Curves"), "space");
    assert_eq!(space.matches(">chosen: epoch 9</text>").count(), space.matches("<figure>").count());
    assert!(!phase(section(&chosen, "Curves"), "search").contains("chosen"));
    // An epoch that is not there has no place.
    for strange in [json!(1e308), json!(-1), json!(null), json!("last")] {
        searched
            .metrics
            .iter_mut()
            .for_each(|line| drop(line.insert("best_epoch".to_owned(), strange.clone())));
        assert!(!page(&searched).contains("class=\"mark\""), "{strange}");
    }
}

#[test]
fn a_collapse_is_told_before_all_else() {
    let mut searched = searched(1, 3, drifting);
    assert!(!page(&searched).contains("<aside"));
    let last = searched.metrics.len() - 1;
    // An earlier epoch that recovered is not told.
    searched.metrics[last - 1].insert("collapsed".to_owned(), json!(true));
    assert!(!page(&searched).contains("<aside"));
    searched.metrics[last].insert("collapsed".to_owned(), json!(true));
    assert!(page(&searched).contains(
        "<strong>The result of the phase search has collapsed.</strong> It consists mostly of"
    ));
    searched.metrics[last].insert("collapse".to_owned(), json!("81 % identities & <pools>"));
    let page = page(&searched);
    let banner =
        page.find("has collapsed.</strong> 81 % identities &amp; &lt;pools&gt;</aside>").unwrap();
    assert!(banner < page.find("<h2>").unwrap());
}

#[test]
fn a_result_that_is_its_start_is_told_before_all_else() {
    let mut searched = searched(1, 3, drifting);
    let last = searched.metrics.len() - 1;
    searched.metrics[last - 1].insert("is_start".to_owned(), json!("90%"));
    assert!(!page(&searched).contains("<aside"), "what it was earlier does not matter");
    searched.metrics[last].insert("is_start".to_owned(), json!("80% & more"));
    let page = page(&searched);
    let banner = page.find("is mostly its random start.</strong> 80% &amp; more</aside>").unwrap();
    assert!(banner < page.find("<h2>").unwrap());
}

#[test]
fn budgets_are_compared_with_what_was_measured() {
    let row = |resource: &str, limit, unit: &str, predicted, value| BudgetRow {
        resource: resource.to_owned(),
        limit,
        unit: unit.to_owned(),
        predicted,
        prediction_error: (resource == "latency").then_some(0.0312),
        value,
    };
    let mut report = report();
    report.budgets = vec![
        row("params", 3_300_000.0, "", Some(3_214_567.0), Some(3_210_900.0)),
        row("latency", 20.0, "ms", Some(19.25), Some(21.0)),
        row("energy", 1.5, "<J>", None, None),
        row("nothing", f64::NAN, "", Some(f64::INFINITY), Some(1.0)),
        row("zero", 0.0, "", None, Some(0.0)),
    ];
    let page = html(&report, &[], None);
    let budgets = section(&page, "Budgets");
    let rows: Vec<&str> = budgets.split("<tr>").skip(2).collect();
    let expected: [&[&str]; 5] = [
        &["params", ">3,300,000<", ">3,214,567<", ">3,210,900<", "yes<small>, 2.7 % below"],
        &[
            "latency <span class=\"unit\">ms<",
            ">20<",
            ">19.25<small> ± 3.1 %</small><",
            ">21<",
            ">no</strong><small>, 5.0 % above",
        ],
        &["&lt;J&gt;", ">1.5<", "not measured"],
        &["<td class=\"n\">n/a</td>", "<td>n/a</td>"],
        &[">0<", "yes"],
    ];
    assert_eq!(rows.len(), expected.len());
    for (row, texts) in rows.iter().zip(expected) {
        for text in texts {
            assert!(row.contains(text), "{text} is missing in {row}");
        }
    }
}

#[test]
fn lines_of_a_run_before_these_were_measured_have_a_page() {
    let searched = searched(2, 4, drifting);
    let old = |line: &Map<String, Value>| {
        let mut line = line.clone();
        for key in
            ["probabilities", "operation_shares", "params", "madds", "collapsed", "best_epoch"]
        {
            line.remove(key);
        }
        line
    };
    let metrics: Vec<_> = searched.metrics.iter().map(old).collect();
    let page = html(&report(), &metrics, Some(&searched.space));
    assert!(
        section(&page, "Candidates").contains("The metrics have no probabilities of candidates.")
    );
    assert!(
        !page.contains("likeliest network")
            && !page.contains("class=\"mark\"")
            && !page.contains("<aside")
    );
}
