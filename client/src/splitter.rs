//! Splits text into statements at semicolons, minding strings, comments, quoted names and dollar
//! quotes. The server parses; this only finds the ends.

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitStatement {
    /// From its first word to its last, without the semicolon.
    pub text: String,
    /// The line of its first word, counted from 1.
    pub line: usize,
}

/// The statements of a text, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// In order, without empty ones.
    pub statements: Vec<SplitStatement>,
    /// Whether the last statement lacks its semicolon, or a string or comment is open.
    pub is_open: bool,
}

/// Splits a text. What follows the last semicolon is a statement too.
pub fn split_statements(text: &str) -> Split {
    let mut scanner = Scanner::new(text);
    let mut statements = Vec::new();
    let mut is_open = false;
    loop {
        let piece = scanner.next_statement();
        if let Some((start, line)) = piece.start {
            statements.push(SplitStatement {
                text: text[start..piece.end].trim_end().to_string(),
                line,
            });
        }
        match piece.terminator {
            Terminator::Semicolon => {}
            Terminator::EndOfText => {
                is_open |= piece.start.is_some();
                break;
            }
            Terminator::InsideToken => {
                is_open = true;
                break;
            }
        }
    }
    Split {
        statements,
        is_open,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terminator {
    Semicolon,
    EndOfText,
    /// The text ends within a string, a quoted name or a block comment.
    InsideToken,
}

struct Piece {
    /// Offset and line of the first word, if there is one.
    start: Option<(usize, usize)>,
    /// Offset behind the last character.
    end: usize,
    terminator: Terminator,
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
    line: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            position: 0,
            line: 1,
        }
    }

    fn next_statement(&mut self) -> Piece {
        let mut start = None;
        while let Some(byte) = self.peek(0) {
            if byte == b';' {
                let end = self.position;
                self.position += 1;
                return Piece {
                    start,
                    end,
                    terminator: Terminator::Semicolon,
                };
            }
            if byte.is_ascii_whitespace() {
                self.advance(1);
                continue;
            }
            if byte == b'-' && self.peek(1) == Some(b'-') {
                self.skip_line();
                continue;
            }
            if byte == b'/' && self.peek(1) == Some(b'*') {
                if !self.skip_block_comment() {
                    return self.cut_short(start);
                }
                continue;
            }
            start = start.or(Some((self.position, self.line)));
            let closed = match byte {
                b'\'' => self.skip_quoted(b'\'', self.is_escape_string()),
                b'"' => self.skip_quoted(b'"', false),
                b'`' => self.skip_quoted(b'`', false),
                b'$' => self.skip_dollar_quoted(),
                _ => {
                    self.advance(1);
                    true
                }
            };
            if !closed {
                return self.cut_short(start);
            }
        }
        Piece {
            start,
            end: self.bytes.len(),
            terminator: Terminator::EndOfText,
        }
    }

    fn cut_short(&self, start: Option<(usize, usize)>) -> Piece {
        Piece {
            start,
            end: self.bytes.len(),
            terminator: Terminator::InsideToken,
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.position + ahead).copied()
    }

    fn advance(&mut self, count: usize) {
        let end = (self.position + count).min(self.bytes.len());
        self.line += self.bytes[self.position..end]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        self.position = end;
    }

    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|byte| byte != b'\n') {
            self.position += 1;
        }
    }

    /// Block comments nest. False when it does not end.
    fn skip_block_comment(&mut self) -> bool {
        let mut depth = 0usize;
        while let Some(byte) = self.peek(0) {
            match (byte, self.peek(1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    self.advance(2);
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.advance(2);
                    if depth == 0 {
                        return true;
                    }
                }
                _ => self.advance(1),
            }
        }
        false
    }

    /// A quote that is doubled stands for itself. False when the end is missing.
    fn skip_quoted(&mut self, quote: u8, backslash_escapes: bool) -> bool {
        self.advance(1);
        while let Some(byte) = self.peek(0) {
            let is_escaped = backslash_escapes && byte == b'\\';
            let is_doubled = byte == quote && self.peek(1) == Some(quote);
            if is_escaped || is_doubled {
                self.advance(2);
            } else if byte == quote {
                self.advance(1);
                return true;
            } else {
                self.advance(1);
            }
        }
        false
    }

    /// Whether the string that begins here has the prefix `E`, which turns on backslashes.
    fn is_escape_string(&self) -> bool {
        let before = |count: usize| {
            self.position
                .checked_sub(count)
                .and_then(|index| self.bytes.get(index))
                .copied()
        };
        matches!(before(1), Some(b'e' | b'E')) && !before(2).is_some_and(is_word)
    }

    /// `$tag$ … $tag$`; a lone dollar (`$1`, `t$snapshots`) is skipped. False when it has no end.
    fn skip_dollar_quoted(&mut self) -> bool {
        let previous = self.position.checked_sub(1).map(|index| self.bytes[index]);
        if previous.is_some_and(is_word) {
            self.advance(1);
            return true;
        }
        let rest = &self.text[self.position + 1..];
        let tag_length = rest.bytes().take_while(|byte| is_word(*byte)).count();
        let starts_with_digit = rest
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_digit());
        if starts_with_digit || rest.as_bytes().get(tag_length) != Some(&b'$') {
            self.advance(1);
            return true;
        }
        let delimiter = &self.text[self.position..self.position + tag_length + 2];
        let body = &self.text[self.position + delimiter.len()..];
        match body.find(delimiter) {
            Some(length) => {
                self.advance(delimiter.len() * 2 + length);
                true
            }
            None => false,
        }
    }
}

/// Part of an unquoted name. Every byte of a non-ASCII character counts.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        split_statements(text)
            .statements
            .into_iter()
            .map(|statement| statement.text)
            .collect()
    }

    #[test]
    fn semicolons_end_statements_only_outside_of_tokens() {
        assert_eq!(texts("select 1; select 2"), ["select 1", "select 2"]);
        assert_eq!(texts("select ';'; x"), ["select ';'", "x"]);
        assert_eq!(texts("select 'it''s;'; x"), ["select 'it''s;'", "x"]);
        assert_eq!(texts(r"select 'a\'; x"), [r"select 'a\'", "x"]);
        assert_eq!(texts(r"select E'a\';'; x"), [r"select E'a\';'", "x"]);
        assert_eq!(texts(r"select 'nE'; x"), ["select 'nE'", "x"]);
        assert_eq!(texts("select \"a;\"\"b\"; x"), ["select \"a;\"\"b\"", "x"]);
        assert_eq!(texts("select 1 -- ; no\n; x"), ["select 1 -- ; no", "x"]);
        assert_eq!(texts("/* ; /* ; */ ; */ select 1; x"), ["select 1", "x"]);
        assert_eq!(texts("select $$a;b$$; x"), ["select $$a;b$$", "x"]);
        assert_eq!(texts("select $t$a;$$;$t$; x"), ["select $t$a;$$;$t$", "x"]);
        assert_eq!(texts("select $1; select $2"), ["select $1", "select $2"]);
        assert_eq!(texts("select t$a; x$b"), ["select t$a", "x$b"]);
        assert_eq!(
            texts("select 'ü;€'; \u{1F980}"),
            ["select 'ü;€'", "\u{1F980}"]
        );
    }

    #[test]
    fn empty_statements_are_left_out() {
        assert_eq!(
            texts(" ;; -- nothing\n ; /* nor here */ ;"),
            Vec::<String>::new()
        );
        assert!(!split_statements("select 1; -- the end").is_open);
        assert!(!split_statements("  ").is_open);
    }

    #[test]
    fn an_open_text_is_seen() {
        for open in [
            "select 1",
            "select 'a;",
            "select \"a;",
            "select 1; /* ;",
            "select $$ ;",
            "select 1; select 2",
            "/* open",
        ] {
            assert!(split_statements(open).is_open, "{open}");
        }
        assert!(!split_statements("select 1; select 2 ; \n").is_open);
    }

    #[test]
    fn lines_are_those_of_the_first_word() {
        let text = "-- a\nselect\n 'x\ny';\n\n/* b\n */ select 2;\nselect $$\n$$; z";
        let lines: Vec<usize> = split_statements(text)
            .statements
            .iter()
            .map(|statement| statement.line)
            .collect();
        assert_eq!(lines, [2, 7, 8, 9]);
    }

    /// Whatever the text, the pieces are found in it in order and nothing panics.
    #[test]
    fn any_text_splits_into_parts_of_itself() {
        let alphabet = [
            "'", "\"", "`", ";", "$", "$$", "$a$", "-", "--", "/*", "*/", "\n", "\\", "E", "ü",
            " ", "x", "1",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..(state % 13) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                text.push_str(alphabet[(state % alphabet.len() as u64) as usize]);
            }
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            let mut rest = text.as_str();
            for statement in split_statements(&text).statements {
                let found = rest.find(&statement.text);
                let position = found.unwrap_or_else(|| panic!("{text:?}: {statement:?}"));
                rest = &rest[position + statement.text.len()..];
            }
        }
    }
}
