//! The grammar of `--where`, as in `n_counts > 500 and cell_type in ["T", "B"]`.
//!
//! ```text
//! either     = both { "or" both }
//! both       = one { "and" one }
//! one        = "not" one | "(" either ")" | comparison
//! comparison = operand [ ("==" | "!=" | "<" | "<=" | ">" | ">=") operand | ["not"] "in" list ]
//! list       = "[" [ literal { "," literal } ] "]"
//! operand    = column | literal
//! literal    = number | 'text' | "text" | true | false
//! ```
//! A column is a bare name (letters, digits, `_` and `.`) or any name in backticks. Keywords are taken in any case.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, anyhow, bail, ensure};

use crate::limits;

/// An expression as it was typed, before it is known which columns there are.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Or(Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Compare(Operand, Comparison, Operand),
    In {
        column: String,
        list: Vec<Literal>,
        negated: bool,
    },
    /// A column of bools.
    Column(String),
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Column(String),
    Literal(Literal),
}

/// A value as it was typed; the column beside it decides how it is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// As it was typed.
    Number(String),
    Text(String),
    Bool(bool),
}

/// `==`, `!=`, `<`, `<=`, `>`, `>=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];
const KEYWORDS: [&str; 6] = ["and", "or", "not", "in", "true", "false"];
/// Longer signs before those that they start with.
const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ","];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A keyword or a sign.
    Sign(&'static str),
    Column(String),
    Literal(Literal),
    End,
}

/// An expression, and the text that it was typed as.
#[derive(Clone, Debug)]
pub struct TypedExpr {
    pub text: String,
    pub expr: Expr,
}

impl FromStr for TypedExpr {
    type Err = <Expr as FromStr>::Err;

    fn from_str(text: &str) -> Result<TypedExpr, Self::Err> {
        Ok(TypedExpr {
            text: text.to_owned(),
            expr: text.parse()?,
        })
    }
}

impl FromStr for Expr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Expr> {
        let mut parser = Parser {
            tokens: tokens(text)?,
            next: 0,
            depth: 0,
        };
        let expr = parser.either()?;
        match parser.peek() {
            Token::End => Ok(expr),
            Token::Sign(sign) if COMPARISONS.iter().any(|(s, _)| s == sign) => {
                parser.expected("'and' between two comparisons")
            }
            _ => parser.expected("'and', 'or' or the end"),
        }
    }
}

/// The tokens of `text`, each with the number of the character where it starts.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let place = text[..text.len() - rest.len()].chars().count() + 1;
        let (token, len) = token(rest).map_err(|e| anyhow!("at character {place}: {e}"))?;
        tokens.push((place, token));
        rest = rest[len..].trim_start();
    }
    tokens.push((text.chars().count() + 1, Token::End));
    Ok(tokens)
}

/// The token that `rest` starts with, and its length in bytes.
fn token(rest: &str) -> Result<(Token, usize)> {
    let first = rest.chars().next().unwrap_or_default();
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return Ok((Token::Sign(sign), sign.len()));
    }
    match first {
        '"' | '\'' => {
            let (text, len) = quoted(rest, first)?;
            Ok((Token::Literal(Literal::Text(text)), len))
        }
        '`' => {
            let (name, len) = quoted(rest, '`')?;
            Ok((Token::Column(name), len))
        }
        '0'..='9' | '.' | '-' | '+' => {
            let text = number(rest);
            ensure!(
                text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok(),
                "'{text}' is no number; a name with such characters goes in `backticks`"
            );
            let literal = Literal::Number(text.into());
            Ok((Token::Literal(literal), text.len()))
        }
        c if c.is_alphabetic() || c == '_' => {
            let stays = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            let name = &rest[..rest.find(|c| !stays(c)).unwrap_or(rest.len())];
            let keyword = KEYWORDS.iter().find(|k| name.eq_ignore_ascii_case(k));
            let token = match keyword.copied() {
                Some("true") => Token::Literal(Literal::Bool(true)),
                Some("false") => Token::Literal(Literal::Bool(false)),
                Some(keyword) => Token::Sign(keyword),
                None => Token::Column(name.into()),
            };
            Ok((token, name.len()))
        }
        '=' => bail!("'=' is no comparison; write '=='"),
        '&' => bail!("'&' is unknown; write 'and'"),
        '|' => bail!("'|' is unknown; write 'or'"),
        '~' | '!' => bail!("'{first}' is unknown; write 'not'"),
        other => bail!("{other:?} is unknown; a name with such characters goes in `backticks`"),
    }
}

/// What stands between quotes, in which a backslash takes the next character as it is; and the length with quotes.
fn quoted(rest: &str, quote: char) -> Result<(String, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c if c == quote => return Ok((text, at + c.len_utf8())),
            c => text.push(c),
        }
    }
    bail!("{quote} is not closed")
}

fn number(rest: &str) -> &str {
    let mut before = ' ';
    let end = rest.char_indices().find(|&(at, c)| {
        let sign = matches!(c, '+' | '-') && (at == 0 || matches!(before, 'e' | 'E'));
        before = c;
        !(sign || c == '.' || c == '_' || c.is_alphanumeric())
    });
    &rest[..end.map_or(rest.len(), |(at, _)| at)]
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |t| &t.1)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn skip(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(s) if *s == sign);
        self.next += usize::from(found);
        found
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        let place = self.tokens.get(self.next.min(self.tokens.len() - 1));
        let place = place.map_or(1, |t| t.0);
        bail!(
            "at character {place}: expected {what}, found {}",
            self.peek()
        )
    }

    fn either(&mut self) -> Result<Expr> {
        let mut left = self.both()?;
        while self.skip("or") {
            left = Expr::Or(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Expr> {
        let mut left = self.one()?;
        while self.skip("and") {
            left = Expr::And(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Expr> {
        self.depth += 1;
        ensure!(self.depth <= limits::EXPRESSION, "it is nested too deeply");
        let expr = if self.skip("not") {
            Expr::Not(Box::new(self.one()?))
        } else if self.skip("(") {
            let inner = self.either()?;
            if !self.skip(")") {
                return self.expected("')', 'and' or 'or'");
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn comparison(&mut self) -> Result<Expr> {
        let start = self.next;
        let left = self.operand("a column, a value, 'not' or '('")?;
        let negated = self.skip("not");
        if self.skip("in") {
            let Operand::Column(column) = left else {
                self.next = start;
                return self.expected("a column before 'in'");
            };
            let list = self.list()?;
            return Ok(Expr::In {
                column,
                list,
                negated,
            });
        }
        if negated {
            return self.expected("'in'");
        }
        let sign = COMPARISONS
            .iter()
            .find(|(sign, _)| *self.peek() == Token::Sign(sign));
        match (sign, left) {
            (Some((_, comparison)), left) => {
                self.next += 1;
                let right = self.operand("a value or a column")?;
                if let (Operand::Literal(_), Operand::Literal(_)) = (&left, &right) {
                    self.next = start;
                    return self.expected("a column on one side of the comparison");
                }
                Ok(Expr::Compare(left, *comparison, right))
            }
            (None, Operand::Column(column)) => Ok(Expr::Column(column)),
            (None, Operand::Literal(_)) => self.expected("a comparison such as '=='"),
        }
    }

    fn operand(&mut self, what: &str) -> Result<Operand> {
        match self.take() {
            Token::Column(name) => Ok(Operand::Column(name)),
            Token::Literal(literal) => Ok(Operand::Literal(literal)),
            _ => {
                self.next -= 1;
                self.expected(what)
            }
        }
    }

    fn list(&mut self) -> Result<Vec<Literal>> {
        if !self.skip("[") {
            return self.expected("a list such as [\"a\", \"b\"]");
        }
        let mut list = vec![];
        while !self.skip("]") {
            if !list.is_empty() && !self.skip(",") {
                return self.expected("',' or ']'");
            }
            match self.take() {
                Token::Literal(literal) => list.push(literal),
                _ => {
                    self.next -= 1;
                    return self.expected("a number, a quoted text, true or false");
                }
            }
        }
        Ok(list)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Token::Sign(sign) => write!(f, "'{sign}'"),
            Token::Column(name) => write!(f, "'{name}'"),
            Token::Literal(literal) => write!(f, "{literal}"),
            Token::End => write!(f, "the end"),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Literal::Number(text) => write!(f, "{text}"),
            Literal::Text(text) => write!(f, "\"{}\"", escaped(text, '"')),
            Literal::Bool(value) => write!(f, "{value}"),
        }
    }
}

fn escaped(text: &str, quote: char) -> String {
    let escaped = text.replace('\\', "\\\\");
    escaped.replace(quote, &format!("\\{quote}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(name: &str) -> String {
        format!("`{}`", escaped(name, '`'))
    }

    fn operand(operand: &Operand) -> String {
        match operand {
            Operand::Column(name) => column(name),
            Operand::Literal(literal) => literal.to_string(),
        }
    }

    fn print(expr: &Expr) -> String {
        match expr {
            Expr::Or(a, b) => format!("({} or {})", print(a), print(b)),
            Expr::And(a, b) => format!("({} AND {})", print(a), print(b)),
            Expr::Not(a) => format!("not {}", print(a)),
            Expr::Compare(a, how, b) => {
                let sign = COMPARISONS.iter().find(|(_, c)| c == how).unwrap().0;
                format!("{}{sign} {}", operand(a), operand(b))
            }
            Expr::In {
                column: name,
                list,
                negated,
            } => {
                let list: Vec<String> = list.iter().map(Literal::to_string).collect();
                let not = if *negated { "not " } else { "" };
                format!("{} {not}in [{}]", column(name), list.join(" ,"))
            }
            Expr::Column(name) => column(name),
        }
    }

    fn literals() -> impl Strategy<Value = Literal> {
        prop_oneof![
            "[-+]?[0-9]{1,4}(\\.[0-9]{0,3})?([eE][-+]?[0-9])?".prop_map(Literal::Number),
            any::<String>().prop_map(Literal::Text),
            any::<bool>().prop_map(Literal::Bool),
        ]
    }

    fn exprs() -> impl Strategy<Value = Expr> {
        let comparison = prop::sample::select(COMPARISONS.to_vec()).prop_map(|c| c.1);
        let name = || prop_oneof!["[a-zß_][a-z0-9_.]{0,5}", any::<String>()];
        let leaf = prop_oneof![
            name().prop_map(Expr::Column),
            (name(), comparison.clone(), literals()).prop_map(|(a, c, b)| {
                Expr::Compare(Operand::Column(a), c, Operand::Literal(b))
            }),
            (literals(), comparison, name()).prop_map(|(a, c, b)| {
                Expr::Compare(Operand::Literal(a), c, Operand::Column(b))
            }),
            (
                name(),
                prop::collection::vec(literals(), 0..4),
                any::<bool>()
            )
                .prop_map(|(column, list, negated)| Expr::In {
                    column,
                    list,
                    negated
                }),
        ];
        leaf.prop_recursive(5, 40, 2, |inner| {
            let pair = (inner.clone(), inner.clone());
            prop_oneof![
                pair.clone().prop_map(|(a, b)| Expr::Or(a.into(), b.into())),
                pair.prop_map(|(a, b)| Expr::And(a.into(), b.into())),
                inner.prop_map(|a| Expr::Not(a.into())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed_again(expr in exprs()) {
            prop_assert_eq!(print(&expr).parse::<Expr>().unwrap(), expr);
        }

        #[test]
        fn garbage_is_an_error_or_an_expression(text in any::<String>()) {
            let _ = text.parse::<Expr>();
        }

        #[test]
        fn garbled_expressions_too(words in prop::collection::vec(
            prop::sample::select(vec!["a", "not", "in", "(", ")", "[", "]", ",", "==", "<", "1", "'x'", "and", "or", "`", "\\", "-"]), 0..20)) {
            let _ = words.join(" ").parse::<Expr>();
            let _ = words.concat().parse::<Expr>();
        }
    }

    #[test]
    fn precedence_is_not_and_or() {
        let same = [
            ("a or b and c", "a or (b and c)"),
            ("not a and b", "(not a) and b"),
            ("not a == 1", "not (a == 1)"),
            ("a == 1 or not b in [2]", "(a == 1) or (not (b in [2]))"),
            ("n.x>=-1.5e3", "`n.x` >= -1.5e3"),
            ("a IN ['it\\'s']", "a in [\"it's\"]"),
        ];
        for (a, b) in same {
            assert_eq!(
                a.parse::<Expr>().unwrap(),
                b.parse::<Expr>().unwrap(),
                "{a}"
            );
        }
        assert_ne!(
            "not a in [1]".parse::<Expr>().unwrap(),
            "a not in [1]".parse::<Expr>().unwrap()
        );
    }

    #[test]
    fn errors_tell_where() {
        let cases = [
            ("", "at character 1: expected a column, a value"),
            (
                "n > ",
                "at character 5: expected a value or a column, found the end",
            ),
            ("n = 5", "at character 3: '=' is no comparison; write '=='"),
            ("n > 5 & m", "at character 7: '&' is unknown; write 'and'"),
            (
                "täx > 1 m",
                "at character 9: expected 'and', 'or' or the end, found 'm'",
            ),
            ("0 < n < 5", "at character 7: expected 'and' between"),
            (
                "c in ['a' 'b']",
                "at character 11: expected ',' or ']', found \"b\"",
            ),
            ("c in 'a'", "at character 6: expected a list"),
            ("c == 'a", "at character 6: ' is not closed"),
            ("(a == 1", "at character 8: expected ')'"),
            ("1 == 2", "at character 1: expected a column on one side"),
            ("n > 5x", "at character 5: '5x' is no number"),
            (
                "cell-type == 1",
                "at character 5: '-type' is no number; a name",
            ),
            ("a not b", "at character 7: expected 'in'"),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", text.parse::<Expr>().unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
        let deep = "(".repeat(100_000);
        assert!(
            deep.parse::<Expr>()
                .unwrap_err()
                .to_string()
                .contains("deeply")
        );
    }
}
