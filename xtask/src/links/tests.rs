use super::*;

/// The problems of a repository with these files.
fn check(files: &[(&str, &str)]) -> Vec<String> {
    let root = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let file = root.path().join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    }
    problems(root.path()).expect("files that can be read")
}

#[test]
fn valid_links_are_accepted() {
    let readme =
        "# A `b`: c\n[a](docs/a.md) [b](#a-b-c) [c](docs) [d](https://example.com/x.md)\n\n```\n[e](none.md)\n```\n";
    let page = "# A\n## A\n[up](../README.md#a-b-c) [self](#a-1) ![image](a.png)\n";
    assert_eq!(check(&[("README.md", readme), ("docs/a.md", page), ("docs/a.png", "")]), [""; 0]);
}

#[test]
fn each_kind_of_broken_link_is_reported() {
    let readme = "# A\n[a](none.md)\n[b](#b)\n[c](../x.md)\n[d](docs/a.md#d)\n`docs/none.md`, `docs/target/x`, `a/b`, `/docs/x`\n";
    let page = "# A\n![image](none.png)\n";
    assert_eq!(
        check(&[("README.md", readme), ("docs/a.md", page)]),
        [
            "README.md:2: none.md: no such file",
            "README.md:3: #b: no such heading",
            "README.md:4: ../x.md: outside the repository",
            "README.md:5: docs/a.md#d: no such heading",
            "README.md:6: no such file: `docs/none.md`",
            "docs/a.md:2: none.png: no such file",
        ]
    );
}

#[test]
fn unreachable_pages_are_reported() {
    let files = [("README.md", "[a](docs/a.md)"), ("docs/a.md", "[b](d/b.md)"), ("docs/d/b.md", ""), ("docs/c.md", "")];
    assert_eq!(check(&files), ["docs/c.md: no link leads here from README.md"]);
}

#[test]
fn functions_that_do_not_exist_are_reported() {
    let map = "## Other\n`not_a_test`\n## Invariants\n- A: `it_is_so`, `it_was_so`\n";
    let files = [("README.md", ""), ("ARCHITECTURE.md", map), ("a/b.rs", "fn it_is_so() {}")];
    assert_eq!(check(&files), ["ARCHITECTURE.md: no function `it_was_so`"]);
}
