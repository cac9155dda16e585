//! Rust source as tokens, with comments and the contents of strings and characters removed: what the guards of the house read. It knows just enough of
//! the language for that (nested comments, raw strings, byte and C strings, characters against lifetimes), and no parser is needed.

/// A token and the line it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// A word (identifier, keyword, number), `::`, or one character of punctuation.
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// The tokens of `source` outside comments, strings and characters.
///
/// ```
/// let source = r##"/* a /* nested */ tokio */ let x = std::fs::read("tokio"); // tokio"##;
/// let words: Vec<String> = tidemill_docs::tokens::tokens(source).into_iter().map(|t| t.text).collect();
/// assert_eq!(words, ["let", "x", "=", "std", "::", "fs", "::", "read", "(", ")", ";"]);
/// ```
pub fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { chars: source.chars().collect(), at: 0, line: 1 };
    let mut out = Vec::new();
    while let Some(c) = reader.peek(0) {
        let line = reader.line;
        match c {
            '/' if reader.peek(1) == Some('/') => reader.skip_while(|c| c != '\n'),
            '/' if reader.peek(1) == Some('*') => reader.skip_block_comment(),
            '"' => reader.skip_string(),
            '\'' => reader.skip_character_or_lifetime(),
            c if is_word(c) => {
                let text = reader.word();
                if !reader.skip_prefixed_string(&text) {
                    out.push(Token { text, line });
                }
            }
            ':' if reader.peek(1) == Some(':') => {
                reader.advance(2);
                out.push(Token { text: "::".into(), line });
            }
            c => {
                reader.advance(1);
                if !c.is_whitespace() {
                    out.push(Token { text: c.into(), line });
                }
            }
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The characters of a source and how far they are read.
struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn advance(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == Some('\n') {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.advance(1);
        }
    }

    fn word(&mut self) -> String {
        let from = self.at;
        self.skip_while(is_word);
        self.chars[from..self.at].iter().collect()
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while self.peek(0).is_some() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.advance(2);
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.advance(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.advance(1),
            }
        }
    }

    /// Skips a string that opens here, escapes included.
    fn skip_string(&mut self) {
        self.advance(1);
        while let Some(c) = self.peek(0) {
            self.advance(if c == '\\' { 2 } else { 1 });
            if c == '"' {
                return;
            }
        }
    }

    /// `'x'` and `'\n'` are characters; `'a` and `'static` are lifetimes, which have no closing quote.
    fn skip_character_or_lifetime(&mut self) {
        if self.peek(1) == Some('\\') {
            self.advance(3);
            self.skip_while(|c| c != '\'');
            self.advance(1);
        } else if self.peek(2) == Some('\'') {
            self.advance(3);
        } else {
            self.advance(1);
            self.skip_while(is_word);
        }
    }

    /// After the word `prefix`: skips the string or character it opens (`r"`, `r#"`, `b"`, `br#"`, `c"`, `b'`), if it opens one. Of a raw
    /// identifier (`r#type`) only the sign is skipped, so that its name comes next.
    fn skip_prefixed_string(&mut self, prefix: &str) -> bool {
        let raw = matches!(prefix, "r" | "br" | "cr");
        if raw && matches!(self.peek(0), Some('"' | '#')) {
            let hashes = (0..).take_while(|&i| self.peek(i) == Some('#')).count();
            self.advance(hashes);
            if self.peek(0) == Some('"') {
                self.advance(1);
                self.skip_raw_string(hashes);
            }
            return true;
        }
        match (prefix, self.peek(0)) {
            ("b" | "c", Some('"')) => self.skip_string(),
            ("b", Some('\'')) => self.skip_character_or_lifetime(),
            _ => return false,
        }
        true
    }

    fn skip_raw_string(&mut self, hashes: usize) {
        while let Some(c) = self.peek(0) {
            self.advance(1);
            if c == '"' && (0..hashes).all(|i| self.peek(i) == Some('#')) {
                return self.advance(hashes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tokens;

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|t| t.text).filter(|t| t.chars().all(super::is_word)).collect()
    }

    #[test]
    fn strings_and_characters_of_every_kind_are_removed() {
        let source = r###"a "x" b 'x' c '\'' d b"x" e r"x\" f r#"x"x"# g br##"x"#x"## h b'x' i "\"x" j c"x" k '"' l"###;
        assert_eq!(words(source), ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
    }

    #[test]
    fn lifetimes_and_raw_identifiers_do_not_swallow_what_follows() {
        assert_eq!(
            words("fn f<'a>(x: &'a str) -> &'static str { r#type }"),
            "fn f x str str type".split(' ').collect::<Vec<_>>()
        );
        assert_eq!(words(r"'\u{1F600}' a '\\' b"), ["a", "b"]);
    }

    #[test]
    fn nested_comments_end_where_they_should() {
        assert_eq!(words("a /* /* x */ x */ b // x\nc /// x\nd /** x */ e"), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let last = tokens("\"1\n2\" /* \n3 */\n r\"\n5\" here").pop();
        assert_eq!(last.map(|t| (t.text, t.line)), Some(("here".into(), 5)));
    }
}
