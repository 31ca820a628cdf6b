//! `?` parameters: numbered in order of appearance.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::SqlError;

/// Turns each `?` into `$1`, `$2` and so on, per statement. Strings and comments are other tokens
/// and so never touched.
///
/// # Errors
/// When a statement mixes `?` with `$1`, which would give numbers twice, or uses `$name`.
pub(crate) fn number_parameters(tokens: &mut [TokenWithSpan]) -> Result<(), SqlError> {
    let mut question_marks = 0;
    let mut has_numbered = false;
    for token in tokens {
        let location = token.span.start;
        match &token.token {
            Token::SemiColon => {
                question_marks = 0;
                has_numbered = false;
            }
            // After a name or a bracket `?` is the JSON operator of other dialects, which this
            // one does not have: a lone question mark is always a parameter.
            Token::Question => {
                question_marks += 1;
                token.token = Token::Placeholder(format!("${question_marks}"));
            }
            Token::Placeholder(text) if text == "?" => {
                question_marks += 1;
                token.token = Token::Placeholder(format!("${question_marks}"));
            }
            Token::Placeholder(text) => {
                let number: Option<u16> = text.strip_prefix('$').and_then(|n| n.parse().ok());
                if number.is_none_or(|number| number == 0) {
                    return Err(SqlError::syntax(
                        format!("the parameter {text} is neither ? nor numbered from $1"),
                        location,
                    ));
                }
                has_numbered = true;
            }
            _ => {}
        }
        if has_numbered && question_marks > 0 {
            return Err(SqlError::syntax(
                "the statement mixes ? and numbered parameters",
                location,
            ));
        }
    }
    Ok(())
}
