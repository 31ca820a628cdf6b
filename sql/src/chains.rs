//! Long chains of operators, as generated SQL has them: `a = 1 OR a = 2 OR …`.
//!
//! The parser makes a chain of n operators n levels deep. Whatever walks, prints or drops such a tree
//! by recursion needs a stack to match, so that one statement of some thousand terms would end the
//! process. `AND` and `OR` may be grouped in any way, so their chains become balanced trees; other
//! chains are limited.

use sqlparser::ast::{BinaryOperator, Expr, Value};
use sqlparser::tokenizer::Location;

use crate::error::SqlError;

/// Chains up to this many operators stay as the parser made them.
const SHORT_CHAIN: usize = 32;

/// More operators than this in one chain of anything but `AND` and `OR` are refused.
const LONGEST_CHAIN: usize = 400;

/// Balances or refuses the chain that starts at an expression; to be called before its operands
/// are visited.
pub(crate) fn flatten_chain(expression: &mut Expr) -> Result<(), SqlError> {
    let length = left_depth(expression);
    if length <= SHORT_CHAIN {
        return Ok(());
    }
    let Expr::BinaryOp { op, .. } = expression else {
        return Ok(());
    };
    if !matches!(op, BinaryOperator::And | BinaryOperator::Or) {
        if length <= LONGEST_CHAIN {
            return Ok(());
        }
        take_apart(expression);
        return Err(SqlError::unsupported(
            format!("a chain of more than {LONGEST_CHAIN} operators"),
            Location::empty(),
        ));
    }
    let op = op.clone();
    let operands = operands_of(expression, &op);
    // Another operator below must not bring back the depth unseen.
    *expression = balanced(operands, &op);
    Ok(())
}

/// How many binary operators one comes through by always going left.
fn left_depth(expression: &Expr) -> usize {
    let mut depth = 0;
    let mut current = expression;
    while let Expr::BinaryOp { left, .. } = current {
        depth += 1;
        current = left;
    }
    depth
}

fn placeholder() -> Expr {
    Expr::value(Value::Null)
}

/// The operands of a left-deep chain of one operator, in order.
fn operands_of(expression: &mut Expr, chain_op: &BinaryOperator) -> Vec<Expr> {
    let mut operands = vec![];
    let mut current = std::mem::replace(expression, placeholder());
    loop {
        match current {
            Expr::BinaryOp { left, op, right } if op == *chain_op => {
                operands.push(*right);
                current = *left;
            }
            first => {
                operands.push(first);
                break;
            }
        }
    }
    operands.reverse();
    operands
}

fn balanced(mut operands: Vec<Expr>, op: &BinaryOperator) -> Expr {
    let right = operands.split_off(operands.len().div_ceil(2));
    match operands.pop() {
        None => placeholder(),
        Some(only) if operands.is_empty() && right.is_empty() => only,
        Some(last) => {
            operands.push(last);
            Expr::BinaryOp {
                left: Box::new(balanced(operands, op)),
                op: op.clone(),
                right: Box::new(balanced(right, op)),
            }
        }
    }
}

/// Drops a left-deep chain without recursion.
fn take_apart(expression: &mut Expr) {
    let mut current = std::mem::replace(expression, placeholder());
    while let Expr::BinaryOp { left, .. } = current {
        current = *left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(op: BinaryOperator, count: usize) -> Expr {
        let number = |n: usize| Expr::value(Value::Number(n.to_string(), false));
        (1..count).fold(number(0), |left, n| Expr::BinaryOp {
            left: Box::new(left),
            op: op.clone(),
            right: Box::new(number(n)),
        })
    }

    fn depth(expression: &Expr) -> usize {
        match expression {
            Expr::BinaryOp { left, right, .. } => 1 + depth(left).max(depth(right)),
            _ => 0,
        }
    }

    fn leaves(expression: &Expr, found: &mut Vec<String>) {
        match expression {
            Expr::BinaryOp { left, right, .. } => {
                leaves(left, found);
                leaves(right, found);
            }
            leaf => found.push(leaf.to_string()),
        }
    }

    #[test]
    fn balances_and_keeps_order() {
        for count in [2, 3, 33, 34, 35, 64, 100, 1001] {
            for op in [BinaryOperator::And, BinaryOperator::Or] {
                let mut expression = chain(op, count);
                flatten_chain(&mut expression).unwrap();
                assert!(depth(&expression) <= 34, "{count}");
                let mut found = vec![];
                leaves(&expression, &mut found);
                let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn refuses_long_arithmetic() {
        let mut expression = chain(BinaryOperator::Plus, 400);
        let before = expression.clone();
        flatten_chain(&mut expression).unwrap();
        assert_eq!(expression, before);
        let mut expression = chain(BinaryOperator::Plus, 100_000);
        let error = flatten_chain(&mut expression).unwrap_err();
        assert!(error.to_string().contains("more than 400 operators"));
    }
}
