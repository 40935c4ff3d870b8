use std::fmt;

use serde::Serialize;

use crate::engine::Outcome;

/// Largest relative difference of two computations of an operator, and of the loss of any network.
const TOLERANCE: f64 = 1e-3;

/// Largest relative difference of the gradients of a whole network: in single precision those of
/// PyTorch are themselves up to 2e-3 away from its own in double precision.
const TOLERANCE_OF_NETWORKS: f64 = 5e-3;

/// Largest relative difference of the loss where the one stores values in bf16 and the other does
/// something else of the kind: it only shows that both compute the same network.
const TOLERANCE_OF_OTHER_PRECISION: f64 = 5e-2;

/// Share of the norm of all gradients below which one of them is judged by that of all: the small
/// ones are what is left when large terms cancel, and mostly rounding.
const FLOOR: f64 = 0.01;

/// What is compared, which decides what is tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// A single operator in single precision.
    Operator,
    /// A whole network in single precision.
    Network,
    /// Anything computed in different lower precisions: by its loss alone, loosely.
    OtherPrecision,
}

impl Judged {
    /// The largest relative difference of the loss.
    fn of_loss(self) -> f64 {
        match self {
            Self::Operator | Self::Network => TOLERANCE,
            Self::OtherPrecision => TOLERANCE_OF_OTHER_PRECISION,
        }
    }

    /// The largest relative difference of gradients; `None` where they are not compared.
    fn of_gradients(self) -> Option<f64> {
        match self {
            Self::Operator => Some(TOLERANCE),
            Self::Network => Some(TOLERANCE_OF_NETWORKS),
            Self::OtherPrecision => None,
        }
    }
}

/// How far the outcomes of two programs are from each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Agreement {
    /// The relative difference that comes closest to what is tolerated, or exceeds it furthest.
    pub(crate) difference: f64,
    /// What is tolerated there.
    pub(crate) tolerance: f64,
    /// The number that is compared: the loss or the norm of a gradient.
    pub(crate) of: String,
}

impl Agreement {
    /// Compares the loss, and where it says enough every gradient's norm and the norm of all
    /// gradients.
    pub(crate) fn between(a: &Outcome, b: &Outcome, judged: Judged) -> Self {
        let whole = |o: &Outcome| o.norms.values().map(|norm| norm * norm).sum::<f64>().sqrt();
        let floor = FLOOR * whole(a).max(whole(b));
        let relative = |of: &str, a: f64, b: f64, floor: f64, tolerance: f64| {
            let scale = a.abs().max(b.abs()).max(floor);
            let difference = if a == b { 0.0 } else { (a - b).abs() / scale };
            // A value that is not finite differs from everything.
            Self {
                difference: if difference.is_nan() { f64::INFINITY } else { difference },
                tolerance,
                of: of.to_owned(),
            }
        };
        let mut worst = relative("the loss", a.loss, b.loss, 0.0, judged.of_loss());
        let Some(tolerance) = judged.of_gradients() else { return worst };
        let mut consider = |other: Self| {
            if other.difference / other.tolerance > worst.difference / worst.tolerance {
                worst = other;
            }
        };
        consider(relative("the norm of all gradients", whole(a), whole(b), 0.0, tolerance));
        for (name, &norm) in &a.norms {
            let other = b.norms.get(name).copied().unwrap_or(f64::NAN);
            consider(relative(&format!("the gradient of {name}"), norm, other, floor, tolerance));
        }
        if a.norms.len() != b.norms.len() {
            consider(Self {
                difference: f64::INFINITY,
                tolerance,
                of: "the number of gradients".to_owned(),
            });
        }
        worst
    }

    /// Whether both computed the same.
    pub(crate) fn holds(&self) -> bool {
        self.difference <= self.tolerance
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} differs by {:.1e} of its size, {:.0e} is tolerated",
            self.of, self.difference, self.tolerance
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(loss: f64, norms: &[(&str, f64)]) -> Outcome {
        Outcome {
            loss,
            norms: norms.iter().map(|(name, norm)| ((*name).to_owned(), *norm)).collect(),
            peak_bytes: None,
        }
    }

    #[test]
    fn what_agrees_and_what_does_not() {
        let a = outcome(2.0, &[("w", 1.0), ("tiny", 1e-9)]);
        let judge = |b: Outcome| {
            let agreement = Agreement::between(&a, &b, Judged::Operator);
            (agreement.holds(), agreement.of)
        };
        assert!(judge(outcome(2.0005, &[("w", 1.0005), ("tiny", 0.0)])).0);
        assert_eq!(
            judge(outcome(2.01, &[("w", 1.0), ("tiny", 1e-9)])),
            (false, "the loss".to_owned())
        );
        assert!(!judge(outcome(2.0, &[("w", 0.99), ("tiny", 1e-9)])).0);
        assert_eq!(
            judge(outcome(2.0, &[("w", 1.0), ("tiny", 0.001)])),
            (false, "the gradient of tiny".to_owned())
        );
        assert!(!judge(outcome(2.0, &[("w", 1.0)])).0, "a gradient is missing");
        assert!(!judge(outcome(f64::NAN, &[("w", 1.0), ("tiny", 1e-9)])).0);

        // Of a whole network, gradients may differ more; the loss may not.
        let holds = |b: Outcome| Agreement::between(&a, &b, Judged::Network).holds();
        assert!(holds(outcome(2.0, &[("w", 0.996), ("tiny", 1e-9)])));
        assert!(!holds(outcome(2.0, &[("w", 0.99), ("tiny", 1e-9)])));
        assert!(!holds(outcome(2.004, &[("w", 1.0), ("tiny", 1e-9)])));

        // In other precisions, only the loss is compared.
        let holds = |b: Outcome| Agreement::between(&a, &b, Judged::OtherPrecision).holds();
        assert!(
            holds(outcome(2.09, &[]))
                && !holds(outcome(2.2, &[]))
                && !holds(outcome(f64::NAN, &[]))
        );
    }
}
