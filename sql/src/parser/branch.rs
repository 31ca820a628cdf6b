//! `@ branch` after the table of a `DELETE`, `UPDATE` or `MERGE`.
//!
//! The parser library does not know it. It is folded into the table's name before parsing, behind a
//! character that no name has, and taken out of the parsed statement again.

use sqlparser::ast::{Ident, ObjectNamePart, TableFactor};
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::tokens::word_of;

/// A character for private use between table and branch.
const SEPARATOR: char = '\u{F0F1}';

/// Folds each branch of a statement that changes rows into the name of its table.
pub(super) fn fold_branches(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut index = 0;
    while index < tokens.len() {
        if let Some((name, branch, end)) = target_at(&tokens, index) {
            if let (Token::Word(table), Token::Word(branch)) =
                (&tokens[name].token, &tokens[branch].token)
            {
                let folded = format!("{}{SEPARATOR}{}", folded(table), folded(branch));
                tokens[name].token = Token::make_word(&folded, Some('"'));
                tokens.drain(name + 1..end);
            }
            index = name;
        }
        index += 1;
    }
    tokens
}

fn folded(word: &Word) -> String {
    match word.quote_style {
        Some(_) => word.value.clone(),
        None => word.value.to_lowercase(),
    }
}

/// Where the last part of the table's name is, the branch, and the end of it, if a statement that
/// changes rows of a branch begins at a token.
fn target_at(tokens: &[TokenWithSpan], start: usize) -> Option<(usize, usize, usize)> {
    let next = |from: usize| {
        (from..tokens.len()).find(|at| !matches!(tokens[*at].token, Token::Whitespace(_)))
    };
    let is_word = |at: usize, word: &str| {
        word_of(&tokens[at].token).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    let mut at = next(start + 1)?;
    if is_word(start, "delete") {
        if !is_word(at, "from") {
            return None;
        }
        at = next(at + 1)?;
    } else if is_word(start, "merge") {
        if is_word(at, "into") {
            at = next(at + 1)?;
        }
    } else if !is_word(start, "update") {
        return None;
    }
    loop {
        if !matches!(tokens[at].token, Token::Word(_)) {
            return None;
        }
        let after = next(at + 1)?;
        match tokens[after].token {
            Token::Period => at = next(after + 1)?,
            Token::AtSign => {
                let branch = next(after + 1)?;
                return matches!(tokens[branch].token, Token::Word(_)).then_some((
                    at,
                    branch,
                    branch + 1,
                ));
            }
            _ => return None,
        }
    }
}

/// Takes the branch out of the name of a table.
pub(super) fn take_branch(factor: &mut TableFactor) -> Option<String> {
    let TableFactor::Table { name, .. } = factor else {
        return None;
    };
    let ObjectNamePart::Identifier(last) = name.0.last_mut()? else {
        return None;
    };
    let (table, branch) = last.value.split_once(SEPARATOR)?;
    let (table, branch) = (table.to_string(), branch.to_string());
    *last = Ident {
        value: table,
        quote_style: Some('"'),
        span: last.span,
    };
    Some(branch)
}
