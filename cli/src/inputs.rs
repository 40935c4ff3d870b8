//! Cheap scores that a strategy uses in addition to those of its trials.

use std::cell::RefCell;

use adwp_base::Result;
use adwp_models::{Choices, Space};
use adwp_search::{Ingredients, InputRecord, Inputs, Scorer, SearchError, registry};
use adwp_train::{Context, Finished, Quiet, RunDir, Streams};

/// Scorers, and what they said in this session and before.
struct Recorded<'a> {
    space: &'a dyn Space,
    scorers: Vec<Box<dyn Scorer + 'a>>,
    record: InputRecord,
    has_scored: bool,
}

impl Recorded<'_> {
    fn score(
        &mut self,
        choices: &Choices,
        context: &mut Context<'_>,
    ) -> std::result::Result<Finished<Vec<f64>>, SearchError> {
        let text = self.space.text(choices);
        if let Some(scores) = self.record.get(&text) {
            return Ok(Finished::Done(scores.clone()));
        }
        // A session scores at least one, so that the shortest one makes progress.
        if self.has_scored && context.interrupt.is_requested() {
            return Ok(Finished::Interrupted);
        }
        let mut scores = Vec::with_capacity(self.scorers.len());
        for scorer in &mut self.scorers {
            match scorer.score(choices, context)? {
                Finished::Done(score) => scores.push(score),
                Finished::Interrupted => return Ok(Finished::Interrupted),
            }
        }
        self.record.add(text, &scores)?;
        self.has_scored = true;
        Ok(Finished::Done(scores))
    }
}

/// The scorers of these names as inputs, each prepared in a folder of its own.
pub(crate) fn open<'a, 'c: 'a>(
    names: &[String],
    ingredients: &Ingredients<'a>,
    seed: u64,
    context: &mut Context<'c>,
) -> Result<Finished<Option<Inputs<'a>>>> {
    if names.is_empty() {
        return Ok(Finished::Done(None));
    }
    let mut scorers = Vec::with_capacity(names.len());
    for name in names {
        let mut scorer = registry::scorer(name, ingredients)?;
        let folder = RunDir::create(&context.run.file(&format!("inputs/{name}")))?;
        if scorer.prepare(&mut context.within(&folder))? == Finished::Interrupted {
            return Ok(Finished::Interrupted);
        }
        scorers.push(scorer);
    }
    let file = RunDir::create(&context.run.file("inputs"))?;
    let file = file.file(&format!("{}.jsonl", names.join("+")));
    let record = InputRecord::open(file, names, context.resume)?;
    let space = ingredients.space;
    let recorded = RefCell::new(Recorded { space, scorers, record, has_scored: false });
    let Context { run, interrupt, held_bytes, check_memory, .. } = *context;
    let scores = move |choices: &Choices| {
        let reporter = &mut Quiet;
        let mut context =
            Context { run, resume: true, held_bytes, check_memory, interrupt, reporter };
        recorded.borrow_mut().score(choices, &mut context)
    };
    let mut watch = |done, of| context.reporter.aside("search: inputs of architecture", done, of);
    let inputs =
        Inputs::open(names.to_vec(), space, Streams::new(seed), Box::new(scores), &mut watch)?;
    context.reporter.phase_end();
    inputs.try_map(|inputs| Ok(Some(inputs)))
}
