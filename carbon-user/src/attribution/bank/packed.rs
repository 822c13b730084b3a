//! A symmetric matrix as its lower triangle, row by row: it cannot lose its symmetry, takes half of the memory, and
//! grows by one row at its end.
//!
//! No factorised form is kept. A rank-one step `C - g g' / s` can lose positivity only by rounding, which takes at
//! most some `n eps |C|` (3e-14 of the largest variance at 134 states) from the smallest eigenvalue, while every
//! step first adds at least 6e-8 of its prior variance to each state: six orders of magnitude more. A factorised form (UD, square root) would need an O(n^3) step to add that noise. The test
//! `many_windows_stay_positive` and `cargo xtask bench accuracy` hold it.

/// Symmetric, of any size.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    size: usize,
    cells: Vec<f64>,
}

/// Rows of the lower triangle: one cell, two cells, and so on; the last cell of each is on the diagonal.
struct Rows<'a> {
    rest: &'a [f64],
    length: usize,
}

impl<'a> Iterator for Rows<'a> {
    type Item = &'a [f64];

    fn next(&mut self) -> Option<&'a [f64]> {
        let (row, rest) = self.rest.split_at_checked(self.length)?;
        self.rest = rest;
        self.length += 1;
        Some(row)
    }
}

/// The same, to be changed.
struct RowsMut<'a> {
    rest: &'a mut [f64],
    length: usize,
}

impl<'a> Iterator for RowsMut<'a> {
    type Item = &'a mut [f64];

    fn next(&mut self) -> Option<&'a mut [f64]> {
        let (row, rest) = std::mem::take(&mut self.rest).split_at_mut_checked(self.length)?;
        self.rest = rest;
        self.length += 1;
        Some(row)
    }
}

/// Place of a cell, `row >= column`.
fn place(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}

impl Packed {
    /// With this diagonal and nothing beside it.
    pub(super) fn diagonal(variances: &[f64]) -> Self {
        let mut matrix = Self::default();
        for variance in variances {
            matrix.grow(*variance);
        }
        matrix
    }

    /// Appends a state that depends on no other.
    pub(super) fn grow(&mut self, variance: f64) {
        // Exactly, or the last of many rows would double the memory of all.
        self.cells.reserve_exact(self.size + 1);
        self.cells.extend(std::iter::repeat_n(0.0, self.size));
        self.cells.push(variance);
        self.size += 1;
    }

    pub(super) fn get(&self, one: usize, other: usize) -> f64 {
        self.cells.get(place(one.max(other), one.min(other))).copied().unwrap_or(0.0)
    }

    /// Writes one cell, and so the one opposite.
    pub(super) fn set(&mut self, one: usize, other: usize, value: f64) {
        if let Some(cell) = self.cells.get_mut(place(one.max(other), one.min(other))) {
            *cell = value;
        }
    }

    /// Makes a state depend on no other, with this variance; the others keep theirs.
    pub(super) fn reset(&mut self, state: usize, variance: f64) {
        for other in 0..self.size {
            if let Some(cell) = self.cells.get_mut(place(state.max(other), state.min(other))) {
                *cell = if other == state { variance } else { 0.0 };
            }
        }
    }

    fn rows(&self) -> Rows<'_> {
        Rows { rest: &self.cells, length: 1 }
    }

    /// `product = C vector`.
    pub(super) fn times(&self, vector: &[f64], product: &mut [f64]) {
        product.fill(0.0);
        for (row, cells) in self.rows().enumerate() {
            let Some((diagonal, left)) = cells.split_last() else { continue };
            let factor = vector.get(row).copied().unwrap_or(0.0);
            let Some((above, [own, ..])) = product.split_at_mut_checked(row) else { continue };
            *own += diagonal * factor + dot(left, vector);
            // Most workloads rest in most windows.
            if factor != 0.0 {
                for (sum, cell) in above.iter_mut().zip(left) {
                    *sum += cell * factor;
                }
            }
        }
    }

    /// One window: `C = a C a + diag(added) - gain gain' / variance`, where `a` is the diagonal of `decays`.
    pub(super) fn step(&mut self, decays: &[f64], added: &[f64], gain: &[f64], variance: f64) {
        let rows = RowsMut { rest: &mut self.cells, length: 1 };
        for (((cells, decay), added), own) in rows.zip(decays).zip(added).zip(gain) {
            let scaled = own / variance;
            for ((cell, other_decay), other) in cells.iter_mut().zip(decays).zip(gain) {
                *cell = *cell * (decay * other_decay) - scaled * other;
            }
            if let Some(diagonal) = cells.last_mut() {
                *diagonal += added;
            }
        }
    }

    /// Whether every variance is a number of at least zero. Cheap; no proof of positivity.
    pub(super) fn is_sound(&self) -> bool {
        self.rows().all(|row| row.last().is_some_and(|variance| *variance >= 0.0 && variance.is_finite()))
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<f64>()
    }
}

/// Scalar product over the shorter of the two. Four sums, so that the compiler may use wide registers.
pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    let length = left.len().min(right.len());
    let (left, right) = (left.get(..length).unwrap_or_default(), right.get(..length).unwrap_or_default());
    let mut sums = [0.0; 4];
    let (mut lefts, mut rights) = (left.chunks_exact(4), right.chunks_exact(4));
    for (left, right) in (&mut lefts).zip(&mut rights) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += left * right;
        }
    }
    let rest: f64 = lefts.remainder().iter().zip(rights.remainder()).map(|(left, right)| left * right).sum();
    let [one, two, three, four] = sums;
    (one + two) + (three + four) + rest
}

impl Packed {
    /// The smallest pivot of `L D L'`, relative to the variance of its state: above zero if and only if the matrix is
    /// positive. States without variance are left out. Costs O(n^3); for tests and self-tests.
    pub(super) fn smallest_pivot_ratio(&self) -> f64 {
        let states: Vec<usize> = (0..self.size).filter(|state| self.get(*state, *state) > 0.0).collect();
        let mut left: Vec<Vec<f64>> = Vec::new();
        for row in &states {
            left.push(states.iter().map(|column| self.get(*row, *column)).collect());
        }
        let (mut smallest, mut done) = (f64::INFINITY, 0);
        left.reverse();
        while let (Some(pivot_row), Some(state)) = (left.pop(), states.get(done)) {
            let pivot = pivot_row.get(done).copied().unwrap_or(0.0);
            smallest = smallest.min(pivot / self.get(*state, *state));
            for row in &mut left {
                let factor = row.get(done).copied().unwrap_or(0.0) / pivot;
                for (cell, above) in row.iter_mut().zip(&pivot_row) {
                    *cell -= factor * above;
                }
            }
            done += 1;
        }
        smallest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dense(matrix: &Packed, size: usize) -> Vec<Vec<f64>> {
        (0..size).map(|row| (0..size).map(|column| matrix.get(row, column)).collect()).collect()
    }

    /// Any positive matrix: a diagonal, and some observations.
    fn observed(variances: &[f64], looks: &[Vec<f64>]) -> Packed {
        let mut matrix = Packed::diagonal(variances);
        let (decays, none) = (vec![1.0; variances.len()], vec![0.0; variances.len()]);
        for look in looks {
            let mut gain = vec![0.0; variances.len()];
            matrix.times(look, &mut gain);
            let variance = dot(&gain, look) + 0.5;
            matrix.step(&decays, &none, &gain, variance);
        }
        matrix
    }

    proptest! {
        #[test]
        fn a_step_is_what_it_says(
            variances in prop::collection::vec(0.1..4.0, 7),
            looks in prop::collection::vec(prop::collection::vec(-2.0..2.0, 7), 0..9),
            look in prop::collection::vec(-2.0..2.0, 7),
            decay in 0.1..1.0,
        ) {
            let matrix = observed(&variances, &looks);
            let before = dense(&matrix, 7);
            let mut product = vec![0.0; 7];
            matrix.times(&look, &mut product);
            for (row, value) in before.iter().zip(&product) {
                let expected: f64 = row.iter().zip(&look).map(|(cell, factor)| cell * factor).sum();
                prop_assert!((expected - value).abs() < 1e-9);
            }
            let mut after = matrix.clone();
            after.step(&[decay; 7], &[0.25; 7], &product, 3.0);
            for row in 0..7 {
                for column in 0..7 {
                    let own = if row == column { 0.25 } else { 0.0 };
                    let expected = before[row][column] * decay * decay + own - product[row] * product[column] / 3.0;
                    prop_assert!((expected - after.get(row, column)).abs() < 1e-9);
                }
            }
        }

        #[test]
        fn observations_keep_it_positive(
            variances in prop::collection::vec(0.1..4.0, 9),
            looks in prop::collection::vec(prop::collection::vec(-2.0..2.0, 9), 0..40),
        ) {
            let matrix = observed(&variances, &looks);
            prop_assert!(matrix.smallest_pivot_ratio() > 0.0 && matrix.is_sound());
        }

        #[test]
        fn a_reset_leaves_the_others(
            variances in prop::collection::vec(0.1..4.0, 6),
            looks in prop::collection::vec(prop::collection::vec(-2.0..2.0, 6), 1..9),
            state in 0_usize..6,
        ) {
            let mut matrix = observed(&variances, &looks);
            let before = dense(&matrix, 6);
            matrix.reset(state, 9.0);
            for (row, cells) in before.iter().enumerate() {
                for (column, cell) in cells.iter().enumerate() {
                    let expected = match (row == state, column == state) {
                        (true, true) => 9.0,
                        (false, false) => *cell,
                        _ => 0.0,
                    };
                    prop_assert!((expected - matrix.get(row, column)).abs() < f64::EPSILON);
                }
            }
        }
    }
}
