//! Numbers in schemas: representable bounds and exact constants.
//!
//! The library stores bounds as f64 and reads their digits as i64. A bound that it would round is
//! moved inward to an exactly representable one; a constant that it would round is refused.

use serde_json::{Number, Value, json};

use super::{Fields, refused, types};
use crate::grammar::GrammarError;

/// The largest integer that is exact as both f64 and i64.
const MOST_WHOLE: i128 = (1 << 63) - (1 << 10);
/// The largest bound of a number that may have a fraction.
const MOST: f64 = 1e18;
/// From this magnitude on, the library needs a bound on the other side too.
const LARGE: f64 = 1e17;
const LARGE_WHOLE: i128 = 1_000_000_000_000_000_000;
/// The smallest number above zero when zero itself is excluded.
const LEAST: f64 = 1e-9;
/// All integers up to this one are exact in f64.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The largest common multiple of all `multipleOf` values, without factors of ten: the library
/// checks digit by digit with as many states, for more than ten microseconds each.
const MOST_MULTIPLE: u64 = 10_000;

/// All `multipleOf` values of a schema.
#[derive(Default)]
pub(super) struct Multiples(Vec<(u64, u32)>);

impl Multiples {
    /// # Errors
    /// A common multiple of the values is so large that checking it would take too long, or that
    /// computing it could overflow in the library. Which values apply to the same number is not
    /// known here.
    pub(super) fn check(&self) -> Result<(), GrammarError> {
        let most = self.0.iter().map(|&(_, digits)| digits).max().unwrap_or(0);
        let scaled = |&(value, digits): &(u64, u32)| {
            let scale = 10_u64.checked_pow(most - digits)?;
            value.checked_mul(scale)
        };
        let common = self.0.iter().try_fold(1_u64, |common, multiple| {
            // The library multiplies before it divides, in 32 bits.
            let value = scaled(multiple)?;
            let product = common.checked_mul(value)?;
            (product <= u32::MAX.into()).then(|| product / greatest_common(common, value))
        });
        let states = |mut common: u64| {
            while common.is_multiple_of(10) {
                common /= 10;
            }
            common
        };
        match common.is_some_and(|common| states(common) <= MOST_MULTIPLE) {
            true => Ok(()),
            false => Err(refused(format!(
                "multipleOf is supported up to a common multiple of {MOST_MULTIPLE}, apart from zeros at \
                 its end"
            ))),
        }
    }

    fn note(&mut self, number: &Number) -> Result<(), GrammarError> {
        let wrong = || {
            refused(format!(
                "multipleOf {number} is not supported: it has to be above zero, and to have few digits"
            ))
        };
        let value = number
            .as_f64()
            .filter(|value| *value > 0.0)
            .ok_or_else(wrong)?;
        let written = format!("{value}");
        let (whole, fraction) = written.split_once('.').unwrap_or((&written, ""));
        let digits: u64 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
        // Repeat the library's own computation: its digits may differ from the written ones.
        let (mut found, mut steps) = (value, 0);
        while found.fract() != 0.0 && steps < 20 {
            found *= 10.0;
            steps += 1;
        }
        if steps as usize != fraction.len() || found != digits as f64 || digits > u32::MAX.into() {
            return Err(wrong());
        }
        if !self.0.contains(&(digits, steps)) {
            self.0.push((digits, steps));
        }
        Ok(())
    }
}

/// Writes the bounds of numbers as `minimum` and `maximum`, never rounded outward.
///
/// # Errors
/// No representable number lies within the bounds.
pub(super) fn rewrite(fields: &mut Fields, multiples: &mut Multiples) -> Result<(), GrammarError> {
    if let Some(Value::Number(number)) = fields.get("multipleOf") {
        multiples.note(number)?;
    }
    let types = types(fields);
    let has = |name: &str| types.as_ref().is_none_or(|types| types.contains(&name));
    let (has_whole, has_others) = (has("integer"), has("number"));
    let Some(bounds) = Bounds::of(fields).filter(|_| has_whole || has_others) else {
        return Ok(());
    };
    let (least, most) = match has_others {
        true => bounds.of_numbers()?,
        false => bounds.of_whole()?,
    };
    for keyword in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] {
        fields.shift_remove(keyword);
    }
    for (keyword, bound) in [("minimum", least), ("maximum", most)] {
        if let Some(bound) = bound {
            fields.insert(keyword.to_owned(), bound);
        }
    }
    Ok(())
}

/// Bounds, each with whether it is exclusive. A schema may give two per side.
struct Bounds {
    least: Vec<(Number, bool)>,
    most: Vec<(Number, bool)>,
}

type Written = (Option<Value>, Option<Value>);

impl Bounds {
    /// `None` if there are no bounds, or if one is not a number; the library refuses the latter.
    fn of(fields: &Fields) -> Option<Self> {
        let side = |plain: &str, exclusive: &str| {
            let mut bounds = Vec::new();
            match fields.get(plain) {
                Some(Value::Number(bound)) => {
                    // Draft 4 syntax.
                    let is_excluded = fields.get(exclusive) == Some(&json!(true));
                    bounds.push((bound.clone(), is_excluded));
                }
                Some(_) => return None,
                None => {}
            }
            match fields.get(exclusive) {
                Some(Value::Number(bound)) => bounds.push((bound.clone(), true)),
                Some(Value::Bool(_)) | None => {}
                Some(_) => return None,
            }
            Some(bounds)
        };
        let least = side("minimum", "exclusiveMinimum")?;
        let most = side("maximum", "exclusiveMaximum")?;
        (!least.is_empty() || !most.is_empty()).then_some(Self { least, most })
    }

    /// Bounds for integers.
    fn of_whole(&self) -> Result<Written, GrammarError> {
        let least = self.least.iter().map(|(bound, excluded)| match excluded {
            true => whole(bound, f64::floor).saturating_add(1),
            false => whole(bound, f64::ceil),
        });
        let most = self.most.iter().map(|(bound, excluded)| match excluded {
            true => whole(bound, f64::ceil).saturating_sub(1),
            false => whole(bound, f64::floor),
        });
        let (mut least, mut most) = (least.max(), most.min());
        if least > Some(MOST_WHOLE) || most.is_some_and(|most| most < -MOST_WHOLE) {
            return Err(beyond());
        }
        if least.is_some_and(|least| least >= LARGE_WHOLE) {
            most.get_or_insert(MOST_WHOLE);
        }
        if most.is_some_and(|most| most <= -LARGE_WHOLE) {
            least.get_or_insert(-MOST_WHOLE);
        }
        let least = least.map(|least| {
            let bound = least.max(-MOST_WHOLE);
            let near = bound as f64;
            if (near as i128) < bound {
                near.next_up()
            } else {
                near
            }
        });
        let most = most.map(|most| {
            let bound = most.min(MOST_WHOLE);
            let near = bound as f64;
            if near as i128 > bound {
                near.next_down()
            } else {
                near
            }
        });
        if least.zip(most).is_some_and(|(least, most)| least > most) {
            return Err(refused(
                "there is no whole number within the bounds of a part of it",
            ));
        }
        let written = |bound: f64| json!(bound as i64);
        Ok((least.map(written), most.map(written)))
    }

    /// Bounds for numbers that may have a fraction. An exclusive bound is replaced by the next
    /// number inside: parsers read the numbers between as the excluded one.
    fn of_numbers(&self) -> Result<Written, GrammarError> {
        let inward = |(bound, excluded): &(Number, bool), up: bool| {
            let bound = bound.as_f64().unwrap_or_default();
            match (excluded, up) {
                (false, _) => bound,
                (true, true) if bound == 0.0 => LEAST,
                (true, false) if bound == 0.0 => -LEAST,
                (true, true) => bound.next_up(),
                (true, false) => bound.next_down(),
            }
        };
        let least = self
            .least
            .iter()
            .map(|bound| inward(bound, true))
            .reduce(f64::max);
        let most = self
            .most
            .iter()
            .map(|bound| inward(bound, false))
            .reduce(f64::min);
        if least.is_some_and(|least| least > MOST) || most.is_some_and(|most| most < -MOST) {
            return Err(beyond());
        }
        let (mut least, mut most) = (
            least.map(|bound| bound.max(-MOST)),
            most.map(|bound| bound.min(MOST)),
        );
        if least.is_some_and(|least| least >= LARGE) {
            most.get_or_insert(MOST);
        }
        if most.is_some_and(|most| most <= -LARGE) {
            least.get_or_insert(-MOST);
        }
        if least.zip(most).is_some_and(|(least, most)| least > most) {
            return Err(refused(
                "there is no number within the bounds of a part of it",
            ));
        }
        Ok((
            least.map(|bound| json!(bound)),
            most.map(|bound| json!(bound)),
        ))
    }
}

fn beyond() -> GrammarError {
    refused("numbers beyond 1e18 cannot be kept to: set bounds within")
}

/// A bound as an integer.
fn whole(bound: &Number, round: fn(f64) -> f64) -> i128 {
    if let Some(whole) = bound.as_i64() {
        return whole.into();
    }
    if let Some(whole) = bound.as_u64() {
        return whole.into();
    }
    // The cast saturates at the limits of i128.
    round(bound.as_f64().unwrap_or_default()) as i128
}

/// Checks that the library can write a constant exactly.
///
/// # Errors
/// Names the number or character that it cannot write.
pub(super) fn check_exact(constant: &Value) -> Result<(), GrammarError> {
    match constant {
        Value::Number(number) => {
            let value = number.as_f64().unwrap_or(f64::NAN);
            let whole = number
                .as_i64()
                .map(i128::from)
                .or(number.as_u64().map(i128::from));
            let is_exact = match whole {
                Some(whole) => value as i128 == whole && whole.abs() <= MOST_WHOLE,
                None => value.fract() != 0.0 || value.abs() <= EXACT,
            };
            is_exact.then_some(()).ok_or_else(|| {
                refused(format!(
                    "the number {number} in const or enum is not kept exactly: make it a string"
                ))
            })
        }
        Value::String(text) => check_text(text),
        Value::Array(items) => items.iter().try_for_each(check_exact),
        Value::Object(fields) => fields.iter().try_for_each(|(name, held)| {
            check_text(name)?;
            check_exact(held)
        }),
        Value::Null | Value::Bool(_) => Ok(()),
    }
}

/// Refuses control characters without a short escape, which are never written.
fn check_text(text: &str) -> Result<(), GrammarError> {
    let is_written = |char: char| !char.is_ascii_control() || "\u{8}\u{c}\n\r\t".contains(char);
    match text.chars().all(is_written) {
        true => Ok(()),
        false => Err(refused("a text in const or enum has a control character")),
    }
}

/// The greatest common divisor of two numbers above zero.
fn greatest_common(a: u64, b: u64) -> u64 {
    match a % b {
        0 => b,
        rest => greatest_common(b, rest),
    }
}
