use std::collections::BTreeMap;

/// A named number.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// As files have it: `vq_vis`.
    pub name: String,
    /// The number.
    pub value: f64,
}

/// What a step has to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Every term of the loss, `total`, `grad_norm`, and with a discriminator `discriminator` and
    /// `discriminator_grad_norm`.
    pub scalars: Vec<Scalar>,
    /// The length of each weight's gradient.
    pub gradients: BTreeMap<String, f64>,
    /// The same of the discriminator's.
    pub discriminator_gradients: BTreeMap<String, f64>,
    /// Additions and multiplications of the step.
    pub flops: f64,
    /// Seconds for which a process has waited for others since the run's start, the mean of all.
    pub waited: f64,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Whose numbers are not finite, where several processes train: `rank 1 on HOST: reconstruction`.
    pub blame: Option<String>,
}

impl Report {
    /// Adds a number.
    pub fn push(&mut self, name: impl Into<String>, value: f64) {
        self.scalars.push(Scalar { name: name.into(), value });
    }

    /// Adds the numbers of another part of the same step: each is a sum then.
    pub fn add(&mut self, other: &Report) {
        for scalar in &other.scalars {
            match self.scalars.iter_mut().find(|s| s.name == scalar.name) {
                Some(sum) => sum.value += scalar.value,
                None => self.scalars.push(scalar.clone()),
            }
        }
    }

    /// Makes sums over so many parts means.
    pub fn divide(&mut self, parts: f64) {
        self.scalars.iter_mut().for_each(|scalar| scalar.value /= parts);
    }

    /// Replaces the number of that name.
    pub fn set(&mut self, name: &str, value: f64) {
        match self.scalars.iter_mut().find(|s| s.name == name) {
            Some(scalar) => scalar.value = value,
            None => self.push(name, value),
        }
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.scalars.iter().find(|s| s.name == name).map(|s| s.value)
    }

    /// The first number that is not finite, and where: a loss, or the weight of a gradient.
    pub fn broken(&self) -> Option<&str> {
        // A weight says more than the length of all gradients together.
        let gradients = self.gradients.iter().chain(&self.discriminator_gradients);
        let weight = gradients.filter(|(_, v)| !v.is_finite()).map(|(name, _)| name.as_str()).next();
        let scalar = self.scalars.iter().find(|s| !s.value.is_finite()).map(|s| s.name.as_str());
        match scalar {
            Some(name) if name.ends_with("grad_norm") => weight.or(scalar),
            None => weight,
            some => some,
        }
    }
}
