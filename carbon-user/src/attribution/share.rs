//! Splits a whole number over whole weights without losing or inventing any of it.

use std::cmp::Reverse;

/// Shares of `total` in proportion to the weights, in the order given, by the largest remainder (Hare's quota, as
/// in the apportionment of seats): each share is the exact quotient rounded down, and what is left over goes, one
/// each, to the largest remainders; of equal ones, to the smaller key. So the shares do not depend on the order.
///
/// The shares sum to `total` exactly, unless all weights are zero: then nothing is given. A weight of zero gets
/// nothing. Keys should be unique, or ties between equal ones fall by order.
pub fn split<K: Ord>(total: u64, weights: &[(K, u64)]) -> Vec<u64> {
    let whole: u128 = weights.iter().map(|(_, weight)| u128::from(*weight)).sum();
    if whole == 0 {
        return vec![0; weights.len()];
    }
    let mut shares = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    let mut left = total;
    for (place, (key, weight)) in weights.iter().enumerate() {
        // Less than 2^128: both factors are below 2^64.
        let product = u128::from(total) * u128::from(*weight);
        let share = u64::try_from(product / whole).unwrap_or(total);
        left = left.saturating_sub(share);
        shares.push(share);
        remainders.push((Reverse(product % whole), key, place));
    }
    // Fewer are left over than there are remainders above zero, so none goes to a weight of zero.
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    if left > 0 && left < remainders.len() {
        remainders.select_nth_unstable(left);
    }
    for (_, _, place) in remainders.iter().take(left) {
        if let Some(share) = shares.get_mut(*place) {
            *share += 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn leftovers_go_to_the_largest_remainders() {
        assert_eq!(split(10, &[('a', 1), ('b', 1), ('c', 1)]), [4, 3, 3]);
        assert_eq!(split(10, &[('c', 1), ('b', 1), ('a', 1)]), [3, 3, 4]);
        assert_eq!(split(7, &[('a', 5), ('b', 3), ('c', 0)]), [4, 3, 0]);
        assert_eq!(split(1, &[('a', 1), ('b', 2)]), [0, 1]);
    }

    #[test]
    fn nothing_is_given_to_nobody() {
        assert_eq!(split(9, &[('a', 0), ('b', 0)]), [0, 0]);
        assert!(split::<char>(9, &[]).is_empty());
    }

    #[test]
    fn the_largest_numbers_fit() {
        let shares = split(u64::MAX, &[(0, u64::MAX), (1, u64::MAX), (2, u64::MAX), (3, 1)]);
        assert_eq!(shares.iter().map(|share| u128::from(*share)).sum::<u128>(), u128::from(u64::MAX));
    }

    fn weights() -> impl Strategy<Value = Vec<(usize, u64)>> {
        let weight = prop_oneof![Just(0), 0_u64..10, any::<u64>()];
        prop::collection::vec(weight, 1..40).prop_map(|weights| weights.into_iter().enumerate().collect())
    }

    proptest! {
        #[test]
        fn shares_sum_to_the_total(total: u64, weights in weights()) {
            let shares = split(total, &weights);
            let sum: u128 = shares.iter().map(|share| u128::from(*share)).sum();
            let any = weights.iter().any(|(_, weight)| *weight > 0);
            prop_assert_eq!(sum, if any { u128::from(total) } else { 0 });
        }

        #[test]
        fn a_share_is_the_quotient_rounded_down_or_up(total: u64, weights in weights()) {
            let whole: u128 = weights.iter().map(|(_, weight)| u128::from(*weight)).sum();
            prop_assume!(whole > 0);
            for (share, (_, weight)) in split(total, &weights).iter().zip(&weights) {
                let product = u128::from(total) * u128::from(*weight);
                prop_assert!(u128::from(*share) == product / whole || u128::from(*share) == product.div_ceil(whole));
            }
        }

        #[test]
        fn the_order_does_not_matter(total: u64, weights in weights(), by in 0_usize..40) {
            let mut turned = weights.clone();
            turned.rotate_left(by % weights.len());
            turned.reverse();
            let mut one: Vec<_> = split(total, &weights).into_iter().zip(&weights).collect();
            let mut other: Vec<_> = split(total, &turned).into_iter().zip(&turned).collect();
            one.sort_unstable_by_key(|(_, (key, _))| *key);
            other.sort_unstable_by_key(|(_, (key, _))| *key);
            prop_assert_eq!(one, other);
        }
    }
}
