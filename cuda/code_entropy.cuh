// What the launches of the entropy term share.
#pragma once

#include "common.cuh"

constexpr int THREADS = 128;

// What is kept of a latent: its largest score, 1 / sum, ln sum, its entropy (in the rule, plus the mean slope).
struct State {
    float most, inverse, log_sum, entropy;
};
