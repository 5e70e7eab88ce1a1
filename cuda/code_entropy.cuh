// What the launches of the entropy term share.
#pragma once

#include "common.cuh"

constexpr int THREADS = 128;

// What is kept of a latent: its largest score, 1 / sum, ln sum, its entropy. In the rule the last two become the offset and
// the mean of what code_entropy.cu has for rows there.
struct State {
    float most, inverse, log_sum, entropy;
};
