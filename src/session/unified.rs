//! The difference of two texts, as `diff -u` writes it.

use std::fmt::Write as _;

/// Lines around a change that are shown with it.
const AROUND: usize = 3;

/// One line of the way from the one text to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// Hunks with their headers; empty when the texts have the same lines.
pub fn unified(now: &str, wanted: &str) -> String {
    let old: Vec<&str> = now.lines().collect();
    let new: Vec<&str> = wanted.lines().collect();
    let lines = walk(&old, &new);
    let changed: Vec<usize> = (0..lines.len())
        .filter(|at| !matches!(lines[*at], Line::Same(_)))
        .collect();
    let mut text = String::new();
    let mut next = 0;
    while next < changed.len() {
        let from = changed[next].saturating_sub(AROUND);
        let mut last = changed[next];
        // Changes whose surroundings touch are one hunk.
        while next < changed.len() && changed[next] <= last + 2 * AROUND {
            last = changed[next];
            next += 1;
        }
        hunk(
            &mut text,
            &lines,
            from,
            (last + AROUND + 1).min(lines.len()),
        );
    }
    text
}

fn hunk(text: &mut String, lines: &[Line<'_>], from: usize, to: usize) {
    let count = |lines: &[Line<'_>], side: fn(&Line<'_>) -> bool| {
        lines.iter().filter(|line| side(line)).count()
    };
    let in_old: fn(&Line<'_>) -> bool = |line| !matches!(line, Line::New(_));
    let in_new: fn(&Line<'_>) -> bool = |line| !matches!(line, Line::Gone(_));
    let range = |side| {
        let length = count(&lines[from..to], side);
        // An empty range names the line before it.
        let start = count(&lines[..from], side) + usize::from(length > 0);
        format!("{start},{length}")
    };
    // Writing into a string cannot fail.
    let _ = writeln!(text, "@@ -{} +{} @@", range(in_old), range(in_new));
    for line in &lines[from..to] {
        let _ = match line {
            Line::Same(words) => writeln!(text, " {words}"),
            Line::Gone(words) => writeln!(text, "-{words}"),
            Line::New(words) => writeln!(text, "+{words}"),
        };
    }
}

/// By the longest common subsequence of lines. Files of nodes have a few hundred, so a table of them all is small.
fn walk<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::with_capacity(old.len().max(new.len()));
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(Line::Gone(old[i]));
            i += 1;
        } else {
            lines.push(Line::New(new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_as_diff_writes_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n";
        let new = "a\nB\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\n";
        insta::assert_snapshot!(unified(old, new), @r"
        @@ -1,5 +1,5 @@
         a
        -b
        +B
         c
         d
         e
        @@ -11,3 +11,4 @@
         k
         l
         m
        +n
        ");
    }

    #[test]
    fn touching_hunks_are_one_and_new_files_begin_at_nothing() {
        let hunks = |old: &str, new: &str| unified(old, new).matches("@@ -").count();
        assert_eq!(
            hunks("a\n1\n2\n3\n4\n5\n6\nb\n", "A\n1\n2\n3\n4\n5\n6\nB\n"),
            2
        );
        assert_eq!(hunks("a\n1\n2\n3\n4\n5\nb\n", "A\n1\n2\n3\n4\n5\nB\n"), 1);
        assert_eq!(unified("", "x\ny\n"), "@@ -0,0 +1,2 @@\n+x\n+y\n");
        assert_eq!(unified("x\n", ""), "@@ -1,1 +0,0 @@\n-x\n");
        assert_eq!(unified("same\n", "same\n"), "");
    }

    proptest::proptest! {
        #[test]
        fn what_it_says_leads_from_one_to_the_other(old in "([abc]\n){0,12}", new in "([abc]\n){0,12}") {
            let before: Vec<&str> = old.lines().collect();
            let after: Vec<&str> = new.lines().collect();
            let lines = walk(&before, &after);
            let side = |gone: bool| lines.iter().filter_map(|line| match line {
                Line::Same(words) => Some(*words),
                Line::Gone(words) => gone.then_some(*words),
                Line::New(words) => (!gone).then_some(*words),
            }).collect::<Vec<_>>();
            proptest::prop_assert_eq!(side(true), before);
            proptest::prop_assert_eq!(side(false), after);
        }
    }
}
