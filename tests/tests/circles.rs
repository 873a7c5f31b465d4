//! No two modules of a crate need each other: whoever reads one must read only what lies below it.
//!
//! A module *needs* another when a path in it ends there: in a `use`, a type, a call. Paths are
//! followed through what other modules re-export. Two modules are compared as the children of the
//! module that they share, so that what `net::driver` needs of `stages::room` is a need of `net` for
//! `stages`. A parent and its children are one unit, and may name each other. Tests do not count,
//! nor does what is inside the brackets of a macro or the method of a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use potluck_tests::workspace;
use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree};

/// A module by the names from the crate's root to it.
type Name = Vec<String>;

/// What the source of one module says.
#[derive(Default)]
struct Module {
    /// What its paths begin with and go on with, as written.
    paths: Vec<Name>,
    /// What names of its own stand for, by `use`.
    uses: BTreeMap<String, Name>,
}

/// The modules of a crate.
#[derive(Default)]
struct Modules(BTreeMap<Name, Module>);

impl Modules {
    /// Reads a crate from the file of its root.
    fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        let folder = root.parent().expect("a file has a folder");
        modules.read_file(&[], root, folder);
        modules
    }

    /// Reads a module from its file; `folder` is where its children's files are.
    fn read_file(&mut self, name: &[String], file: &Path, folder: &Path) {
        let text = fs::read_to_string(file).expect("a source file is text");
        let source = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.add(name, &source.items, Some(folder));
    }

    fn add(&mut self, name: &[String], items: &[Item], folder: Option<&Path>) {
        let mut seen = Seen::default();
        for item in items {
            seen.visit_item(item);
        }
        self.0.insert(name.to_vec(), seen.module);
        for child in seen.children {
            let mut name = name.to_vec();
            name.push(child.ident.to_string());
            let own = folder.map(|folder| folder.join(child.ident.to_string()));
            match (&child.content, own) {
                (Some((_, items)), own) => self.add(&name, items, own.as_deref()),
                (None, Some(own)) => {
                    let beside = own.with_extension("rs");
                    let file = if beside.is_file() {
                        beside
                    } else {
                        own.join("mod.rs")
                    };
                    self.read_file(&name, &file, &own);
                }
                (None, None) => {}
            }
        }
    }

    /// The path from the root for one that is written in a module, unless it leads out of the crate.
    fn path_at_root(&self, module: &[String], path: &[String]) -> Option<Name> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let above = module.get(..module.len().checked_sub(ups)?)?;
                Some([above, &path[ups..]].concat())
            }
            _ => {
                let child = [module, path].concat();
                let known = self.0.contains_key(&child[..=module.len()]);
                known.then_some(child)
            }
        }
    }

    /// The module in which a path from the root ends, through what is re-exported.
    fn place(&self, path: &[String], hops: usize) -> Name {
        let depth = (0..path.len()).take_while(|at| self.0.contains_key(&path[..=*at]));
        let (module, rest) = path.split_at(depth.count());
        let elsewhere = rest.split_first().and_then(|(name, rest)| {
            let target = self.0.get(module)?.uses.get(name)?;
            let target = self.path_at_root(module, target)?;
            (hops > 0).then(|| self.place(&[target, rest.to_vec()].concat(), hops - 1))
        });
        elsewhere.unwrap_or_else(|| module.to_vec())
    }

    /// Which child of a module needs which other, with one pair of modules that shows it.
    fn needs(&self) -> BTreeMap<Name, BTreeMap<Name, (Name, Name)>> {
        let mut needs = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (name, module) in &self.0 {
            for path in module.paths.iter().chain(module.uses.values()) {
                let Some(path) = self.path_at_root(name, path) else {
                    continue;
                };
                let target = self.place(&path, 8);
                let shared = name.iter().zip(&target).take_while(|(a, b)| a == b).count();
                if shared < name.len().min(target.len()) {
                    let (from, to) = (&name[..=shared], &target[..=shared]);
                    let shown = needs.entry(from.to_vec()).or_default();
                    shown
                        .entry(to.to_vec())
                        .or_insert((name.clone(), target.clone()));
                }
            }
        }
        needs
    }

    /// Each circle as the needs within it, in words.
    fn circles(&self) -> Vec<String> {
        let needs = self.needs();
        let mut told = BTreeSet::new();
        let mut circles = Vec::new();
        for start in needs.keys() {
            let ahead = reached(&needs, start);
            let circle: BTreeSet<_> = ahead
                .iter()
                .filter(|other| reached(&needs, other).contains(start))
                .cloned()
                .collect();
            if !circle.is_empty() && told.insert(circle.clone()) {
                circles.push(in_words(&needs, &circle));
            }
        }
        circles
    }
}

fn reached(needs: &BTreeMap<Name, BTreeMap<Name, (Name, Name)>>, start: &Name) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    let mut next = vec![start];
    while let Some(name) = next.pop() {
        for to in needs.get(name).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    found
}

fn in_words(
    needs: &BTreeMap<Name, BTreeMap<Name, (Name, Name)>>,
    circle: &BTreeSet<Name>,
) -> String {
    let mut words = String::new();
    for (from, to) in circle.iter().flat_map(|name| &needs[name]) {
        let _ = circle.contains(from).then(|| {
            let (a, b) = to;
            writeln!(words, "    {} needs {}", a.join("::"), b.join("::"))
        });
    }
    words
}

/// Collects what one module says, without its children.
#[derive(Default)]
struct Seen<'a> {
    module: Module,
    children: Vec<&'a ItemMod>,
}

impl<'a> Visit<'a> for Seen<'a> {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !attributes.iter().any(is_test) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        self.children.push(item);
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.uses(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let parts = path.segments.iter().map(|part| part.ident.to_string());
        self.module.paths.push(parts.collect());
        syn::visit::visit_path(self, path);
    }
}

impl Seen<'_> {
    fn uses(&mut self, path: &mut Name, tree: &UseTree) {
        match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                self.uses(path, &tree.tree);
                path.pop();
            }
            UseTree::Name(tree) => self.bind(path, &tree.ident.to_string(), None),
            UseTree::Rename(tree) => {
                self.bind(path, &tree.ident.to_string(), Some(tree.rename.to_string()));
            }
            UseTree::Glob(_) => self.module.paths.push(path.clone()),
            UseTree::Group(tree) => {
                for tree in &tree.items {
                    self.uses(path, tree);
                }
            }
        }
    }

    fn bind(&mut self, path: &[String], name: &str, renamed: Option<String>) {
        let mut target = path.to_vec();
        if name != "self" {
            target.push(name.to_owned());
        }
        let bound = renamed.or_else(|| target.last().cloned());
        if let Some(bound) = bound.filter(|name| name != "_") {
            self.module.uses.insert(bound, target);
        } else {
            self.module.paths.push(target);
        }
    }
}

fn is_test(attribute: &Attribute) -> bool {
    let words = match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string(),
        _ => return false,
    };
    words == "test"
}

fn roots() -> Vec<PathBuf> {
    let crates = ["model", "protocol", "node", "simulator", "tests"];
    let files = ["lib.rs", "main.rs"];
    let all = crates.iter().flat_map(|krate| {
        let source = workspace().join(krate).join("src");
        files.map(|file| source.join(file))
    });
    all.filter(|root| root.is_file()).collect()
}

#[test]
fn no_modules_need_each_other() {
    let mut words = String::new();
    let mut modules = 0;
    for root in roots() {
        let read = Modules::read(&root);
        modules += read.0.len();
        for circle in read.circles() {
            let root = root.strip_prefix(workspace()).expect("under it").display();
            let _ = writeln!(words, "a circle in {root}:\n{circle}");
        }
    }
    assert!(modules > 400, "only {modules} modules were found");
    assert!(words.is_empty(), "{words}");
}

/// A crate of modules in brackets.
fn made(text: &str) -> Modules {
    let source = syn::parse_file(text).expect("it is Rust");
    let mut modules = Modules::default();
    modules.add(&[], &source.items, None);
    modules
}

#[test]
fn a_circle_through_three_modules_and_a_re_export_is_found() {
    let circles = made(
        "mod a { mod deep { use crate::C; } }
         mod b { fn f() { crate::a::g() } }
         mod c { use super::b::f as h; pub struct C; }
         pub use c::C;",
    )
    .circles();
    assert_eq!(circles.len(), 1, "{circles:?}");
    for need in ["a::deep needs c", "b needs a", "c needs b"] {
        assert!(circles[0].contains(need), "{circles:?}");
    }
}

#[test]
fn parents_children_and_tests_make_no_circle() {
    let circles = made(
        "mod a { use super::b::B; mod deep { use super::super::T; use crate::a; } use deep::D; }
         mod b { pub struct B; #[cfg(test)] mod tests { use crate::a; } #[cfg(test)] use crate::a; }
         use a::A; struct T;",
    )
    .circles();
    assert!(circles.is_empty(), "{circles:?}");
}
