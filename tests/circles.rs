//! Files of a room do not use each other in a circle.
//!
//! A file uses another where a path outside of tests leads there: `crate::`, `super::` or `self::`,
//! or the name of a module of its own; re-exports are followed to the file that has the item, and
//! are no use themselves. One circle is none: a module whose items its own files use may call these,
//! as long as nothing else is in the circle and they do not use each other in one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Path of a module within its room: the root has none.
type Module = Vec<String>;

/// What every module uses.
type Uses = BTreeMap<Module, BTreeSet<Module>>;

/// Names and signs of a source, `::` as one; comments and literals are left out.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                while i < chars.len() && !(at(i) == '*' && at(i + 1) == '/') {
                    i += 1;
                }
                i += 2;
            }
            // Of the literal r#"…"#, r, # and the quotes before are tokens of no meaning.
            '"' => {
                let hashes = (1..=i).take_while(|back| at(i - back) == '#').count();
                let is_raw = i > hashes && at(i - hashes - 1) == 'r';
                let is_end = |i: usize| at(i) == '"' && (1..=hashes).all(|k| at(i + k) == '#');
                i += 1;
                while i < chars.len() && !(if is_raw { is_end(i) } else { at(i) == '"' }) {
                    i += if at(i) == '\\' && !is_raw { 2 } else { 1 };
                }
                i += 1;
            }
            // A lifetime has no second quote.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            c if is_name(c) => {
                let start = i;
                while is_name(at(i)) {
                    i += 1;
                }
                tokens.push(chars[start..i].iter().collect());
            }
            ':' if at(i + 1) == ':' => {
                tokens.push("::".to_owned());
                i += 2;
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                i += 1;
            }
        }
    }
    tokens
}

/// Where the item that begins at `from` ends: at its semicolon, or after its braces.
fn end_of_item(tokens: &[String], from: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(from) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (token == ";" || token == "}") {
            return i + 1;
        }
    }
    tokens.len()
}

/// Takes out what is compiled for tests alone; gives the names of the modules in files of their own
/// that are.
fn without_tests(tokens: &[String]) -> (Vec<String>, Vec<String>) {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules, mut i) = (Vec::new(), Vec::new(), 0);
    while i < tokens.len() {
        if !tokens[i..].iter().take(TEST.len()).eq(TEST.iter()) {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        let end = end_of_item(tokens, i + TEST.len());
        if let [.., word, name, semicolon] = &tokens[i..end]
            && (word.as_str(), semicolon.as_str()) == ("mod", ";")
        {
            modules.push(name.clone());
        }
        i = end;
    }
    (kept, modules)
}

/// The paths of a tree of `use`, without `as`.
fn paths(tree: &[String]) -> Vec<Vec<String>> {
    let Some(brace) = tree.iter().position(|token| token == "{") else {
        let names = tree.iter().take_while(|token| *token != "as");
        return vec![names.filter(|token| *token != "::").cloned().collect()];
    };
    let before: Vec<String> = tree[..brace].iter().filter(|t| *t != "::").cloned().collect();
    let (mut all, mut depth, mut start) = (Vec::new(), 0, brace + 1);
    for (i, token) in tree.iter().enumerate().skip(brace + 1) {
        match token.as_str() {
            "{" => depth += 1,
            "}" if depth > 0 => depth -= 1,
            "," | "}" if depth == 0 => {
                let branch = &tree[start..i];
                let of = |path: Vec<String>| [&before[..], &path].concat();
                all.extend(paths(branch).into_iter().filter(|p| !p.is_empty()).map(of));
                start = i + 1;
            }
            _ => {}
        }
    }
    all
}

/// A file: the paths that it uses, and under which names it hands items on.
#[derive(Default)]
struct File {
    used: Vec<Vec<String>>,
    handed_on: BTreeMap<String, Vec<String>>,
}

impl File {
    fn read(tokens: &[String]) -> Self {
        let is_name = |token: &String| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let (mut file, mut i) = (Self::default(), 0);
        while i < tokens.len() {
            if tokens[i] == "use" {
                let end = end_of_item_of_use(tokens, i);
                let is_handed_on = i > 0 && (tokens[i - 1] == "pub" || tokens[i - 1] == ")");
                for path in paths(&tokens[i + 1..end]) {
                    match path.last() {
                        Some(name) if is_handed_on => {
                            file.handed_on.insert(name.clone(), path);
                        }
                        _ => file.used.push(path),
                    }
                }
                i = end;
            } else if is_name(&tokens[i]) && (i == 0 || tokens[i - 1] != "::") {
                let mut path = vec![tokens[i].clone()];
                while tokens.get(i + 1).is_some_and(|token| token == "::")
                    && tokens.get(i + 2).is_some_and(is_name)
                {
                    path.push(tokens[i + 2].clone());
                    i += 2;
                }
                if path.len() > 1 {
                    file.used.push(path);
                }
                i += 1;
            } else {
                i += 1;
            }
        }
        file
    }
}

/// Where a `use` ends.
fn end_of_item_of_use(tokens: &[String], from: usize) -> usize {
    tokens[from..]
        .iter()
        .position(|token| token == ";")
        .map_or(tokens.len(), |length| from + length)
}

/// What the modules of a room use, given the text of each.
fn uses(texts: &BTreeMap<Module, String>) -> Uses {
    let (mut files, mut tests) = (BTreeMap::new(), Vec::new());
    for (module, text) in texts {
        let (kept, of_tests) = without_tests(&tokens(text));
        tests.extend(of_tests.into_iter().map(|name| [&module[..], &[name]].concat()));
        files.insert(module.clone(), File::read(&kept));
    }
    files.retain(|module: &Module, _| !tests.iter().any(|test| module.starts_with(test)));
    let of = |module: &Module| {
        let used = files[module].used.iter();
        let used = used.filter_map(|path| target(&files, module, path, 0));
        used.filter(|used| used != module).collect()
    };
    files.keys().map(|module| (module.clone(), of(module))).collect()
}

/// How many re-exports lead to an item at most.
const RE_EXPORTS: usize = 8;

/// The module whose file has what a path names, as it is read in `from`; none outside of the room.
fn target(
    files: &BTreeMap<Module, File>,
    from: &Module,
    path: &[String],
    depth: usize,
) -> Option<Module> {
    let mut rest = path;
    let mut at = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => from.clone(),
        name => {
            let own = [&from[..], &[name.to_owned()]].concat();
            let is_known = files.contains_key(&own) || depth > 0;
            return is_known.then(|| descend(files, from.clone(), path, depth));
        }
    };
    while let Some((first, others)) = rest.split_first()
        && matches!(first.as_str(), "crate" | "self" | "super")
    {
        if first == "super" {
            at.pop()?;
        }
        rest = others;
    }
    Some(descend(files, at, rest, depth))
}

fn descend(
    files: &BTreeMap<Module, File>,
    mut at: Module,
    mut rest: &[String],
    depth: usize,
) -> Module {
    while let Some((first, others)) = rest.split_first() {
        let inner = [&at[..], std::slice::from_ref(first)].concat();
        if files.contains_key(&inner) {
            (at, rest) = (inner, others);
            continue;
        }
        let handed_on = files.get(&at).and_then(|file| file.handed_on.get(first));
        if let (Some(path), true) = (handed_on, depth < RE_EXPORTS) {
            let path = [&path[..], others].concat();
            return target(files, &at, &path, depth + 1).unwrap_or(at);
        }
        break;
    }
    at
}

/// The groups of modules that are reached from each other.
fn groups(uses: &Uses) -> Vec<Vec<Module>> {
    let reached = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            let used = uses.get(module).into_iter().flatten();
            next.extend(used.filter(|used| seen.insert((*used).clone())));
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        uses.keys().map(|module| (module, reached(module))).collect();
    let mut groups: Vec<Vec<Module>> = Vec::new();
    for (module, others) in &reached {
        let is_new = !groups.iter().flatten().any(|known| known == *module);
        if is_new && others.contains(*module) {
            let both = others.iter().filter(|other| reached[other].contains(*module));
            groups.push(both.cloned().collect());
        }
    }
    groups
}

/// The circles of a room: each the names of its files.
fn circles(uses: &Uses) -> Vec<String> {
    let is_own = |parent: &Module, child: &Module| {
        child.len() == parent.len() + 1 && child.starts_with(parent)
    };
    // A module and files of its own.
    let is_family = |group: &Vec<Module>| {
        let (parent, others) = group.split_first().expect("a circle of some");
        others.iter().all(|child| is_own(parent, child))
    };
    let whole = groups(uses).into_iter().filter(|group| !is_family(group));
    // Circles that are left where no module calls its own.
    let without: Uses = uses
        .iter()
        .map(|(module, used)| {
            let others = used.iter().filter(|used| !is_own(module, used));
            (module.clone(), others.cloned().collect())
        })
        .collect();
    let name = |module: &Module| match module.is_empty() {
        true => "the root".to_owned(),
        false => module.join("/"),
    };
    let all = whole.chain(groups(&without));
    let names: BTreeSet<String> =
        all.map(|group| group.iter().map(name).collect::<Vec<_>>().join(", ")).collect();
    names.into_iter().collect()
}

/// The sources below a folder by module.
fn sources(folder: &Path, module: &Module, texts: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let inner = [&module[..], std::slice::from_ref(&stem)].concat();
        if path.is_dir() {
            sources(&path, &inner, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_root = matches!(stem.as_str(), "mod" | "lib" | "main");
            let module = if is_root { module.clone() } else { inner };
            *texts.entry(module).or_default() += &fs::read_to_string(&path).unwrap();
        }
    }
}

/// The circles in the sources of a room.
pub(crate) fn of_room(folder: &Path) -> Vec<String> {
    let mut texts = BTreeMap::new();
    sources(&folder.join("src"), &Vec::new(), &mut texts);
    assert!(texts.contains_key(&Vec::new()), "{} has no root", folder.display());
    circles(&uses(&texts))
}

/// The circles of a room of these files.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let module =
        |name: &str| name.split('/').filter(|n| !n.is_empty()).map(str::to_owned).collect();
    circles(&uses(&files.iter().map(|(name, text)| (module(name), (*text).to_owned())).collect()))
}

#[test]
fn circles_are_found_however_files_name_each_other() {
    let root = ("", "mod a; mod b; pub use a::A; pub use b::B;");
    let one_way = ("a", "use crate::B; pub struct A;");
    for back in [
        "use crate::A;",
        "use super::a::A;",
        "use crate::{a::{A as Other}, std};",
        "fn f() { crate::a::g() }",
        "fn f() -> super::A { todo!() }",
        "fn f(text: &str) -> &'static str { \"\\\"\"; 'a'; '\\''; r#\"\"\"#; super::a::g() }",
    ] {
        assert_eq!(found(&[root, one_way, ("b", back)]), ["a, b"], "{back}");
    }
    for no_use in [
        "use std::a::A;",
        "// use crate::A;\n/* crate::A */",
        "const A: &str = \"crate::A\";",
        "pub use crate::A;",
        "#[cfg(test)]\nmod tests { use crate::A; fn f() { super::super::a::g() } }",
        "#[cfg(test)]\nuse crate::A;",
        "#[cfg(test)]\nmod tests;",
    ] {
        let tests = ("b/tests", "use crate::A; use super::*;");
        assert_eq!(found(&[root, one_way, ("b", no_use), tests]), [""; 0], "{no_use}");
    }
    let three = [root, ("a", "use crate::b;"), ("b", "use crate::c::C;"), ("c", "use crate::a;")];
    assert_eq!(found(&three), ["a, b, c"]);
}

#[test]
fn a_module_may_call_its_own_files_but_these_not_each_other_in_a_circle() {
    let parent = ("a", "mod x; mod y; pub struct A; fn f() { x::g(); y::g() }");
    let family =
        [("", "mod a; mod b;"), parent, ("a/x", "use super::A;"), ("a/y", "use super::A;")];
    assert_eq!(found(&family), [""; 0]);
    let siblings = [family[0], parent, ("a/x", "use super::y;"), ("a/y", "use super::{A, x};")];
    assert_eq!(found(&siblings), ["a/x, a/y"]);
    // Through a file that is none of its own.
    let outside = [family[0], parent, ("a/x", "use crate::b::B;"), ("b", "use crate::a::A;")];
    assert_eq!(found(&outside), ["a, a/x, b"]);
}
