//! Tables as comma-separated values, which people open in spreadsheets.

/// The type of such an answer.
pub(super) const KIND: &str = "text/csv";

/// What a spreadsheet takes for the beginning of a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// One line of cells, each a text that somebody may have chosen to be harmful.
pub(super) fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    format!("{}\r\n", cells.join(","))
}

/// A cell. Whatever could be a formula is made text by an apostrophe; whatever has a meaning in the
/// format is quoted.
fn cell(text: &str) -> String {
    let guard =
        if text.trim_start().starts_with(FORMULA) || text.starts_with(FORMULA) { "'" } else { "" };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./: ".contains(c);
    if guard.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn no_cell_is_a_formula_or_ends_before_its_end() {
        let cells =
            ["a-b/c", "", "=1+1", "@SUM(A1)", "-2", "+3", " =4", "\t5", "6\r\n7", "a,\"b\""];
        assert_eq!(
            line(cells),
            "a-b/c,,\"'=1+1\",\"'@SUM(A1)\",\"'-2\",\"'+3\",\"' =4\",\"'\t5\",\"6\r\n7\",\
             \"a,\"\"b\"\"\"\r\n"
        );
    }
}
