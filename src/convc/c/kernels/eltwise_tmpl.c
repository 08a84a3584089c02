/* Maps: kernels that give each element of a line from the elements at the same place in up to three others. */

/* What a map sees of its inputs, in the order of enum convc_map, and its parameter in all lanes. */
typedef struct FN(seen) {
    vec in[3], parameter;
} FN(seen);

/* ---- forward: x, or x and its weight ---- */

static inline vec FN(relu)(FN(seen) v) { return vmax_or_second(vzero(), v.in[0]); }
static inline vec FN(leaky)(vec x, vec slope) { return vselect(vgt(x, vzero()), x, vmul(x, slope)); }
static inline vec FN(leaky_relu)(FN(seen) v) { return FN(leaky)(v.in[0], v.parameter); }
static inline vec FN(prelu)(FN(seen) v) { return FN(leaky)(v.in[0], v.in[1]); }
static inline vec FN(sigmoid)(FN(seen) v) { return FN(logistic_value)(v.in[0]); }
static inline vec FN(tanh)(FN(seen) v) { return FN(tanh_value)(v.in[0]); }
static inline vec FN(silu)(FN(seen) v) { return FN(gated)(v.in[0], v.in[0]); }
static inline vec FN(gelu)(FN(seen) v) { return FN(gelu_value)(v.in[0]); }

/* 0.5 x (1 + tanh(z / 2)) = x s(z) for z = 2 sqrt(2 / pi) (x + 0.044715 x^3) */
#undef GELU_LINEAR
#undef GELU_CUBIC
#define GELU_LINEAR ((real)1.5957691216057308)
#define GELU_CUBIC ((real)0.07135481627260025)
static inline vec FN(gelu_tanh)(FN(seen) v) {
    vec x = vmax_or_second(vset1(-FARTHEST), v.in[0]);
    return FN(gated)(x, vmul(x, vfma(vmul(x, x), vset1(GELU_CUBIC), vset1(GELU_LINEAR))));
}

/* ---- backward: the gradient, then the output y or the input x, then its weight ---- */

static inline vec FN(where_positive)(vec x, vec a, vec b) { return vselect(vgt(x, vzero()), a, b); }
static inline vec FN(within)(vec x, real bound) {
    vec low = vmax_or_second(vset1(-bound), x);
    return vsub(vzero(), vmax_or_second(vset1(-bound), vsub(vzero(), low)));
}

/* NaN is not stopped: no gradient is a clean 0 for what is no number. */
static inline vec FN(relu_backward)(FN(seen) v) {
    return vselect(visnan(v.in[1]), v.in[0], FN(where_positive)(v.in[1], v.in[0], vzero()));
}
static inline vec FN(leaky_relu_backward)(FN(seen) v) { return FN(where_positive)(v.in[1], v.in[0], vmul(v.in[0], v.parameter)); }
static inline vec FN(prelu_backward)(FN(seen) v) { return FN(where_positive)(v.in[1], v.in[0], vmul(v.in[0], v.in[2])); }
static inline vec FN(prelu_terms)(FN(seen) v) { return FN(where_positive)(v.in[1], vzero(), vmul(v.in[0], v.in[1])); }
static inline vec FN(sigmoid_backward)(FN(seen) v) { return vmul(v.in[0], vmul(vsub(vset1(1), v.in[1]), v.in[1])); }
static inline vec FN(tanh_backward)(FN(seen) v) { return vmul(v.in[0], vmul(vsub(vset1(1), v.in[1]), vadd(vset1(1), v.in[1]))); }
static inline vec FN(silu_backward)(FN(seen) v) {
    vec x = FN(within)(v.in[1], -LOWEST);
    return vmul(v.in[0], FN(gated_slope)(x, x, vset1(1)));
}
static inline vec FN(gelu_backward)(FN(seen) v) { return vmul(v.in[0], FN(gelu_slope)(v.in[1])); }
static inline vec FN(gelu_tanh_backward)(FN(seen) v) {
    vec x = FN(within)(v.in[1], FARTHEST), square = vmul(x, x);
    vec z = vmul(x, vfma(square, vset1(GELU_CUBIC), vset1(GELU_LINEAR)));
    vec dz = vfma(square, vset1(3 * GELU_CUBIC), vset1(GELU_LINEAR));
    return vmul(v.in[0], FN(gated_slope)(x, z, dz));
}

/* ---- lines ---- */

/* The first n lanes, n <= VL, from p[0], p[step], ... */
static inline vec FN(load_lanes)(const real *p, int64_t step, int n) {
    if (step == 1) return n == VL ? vload(p) : vload_masked(p, vlanes(0, n));
    real lane[VL] = {0};
    for (int i = 0; i < n; i++) lane[i] = p[i * step];
    return vload(lane);
}

static inline ALWAYS_INLINE void FN(map_line)(vec (*f)(FN(seen)), const int inputs, real *y, const real *const x[],
                                              const int64_t step[], int64_t n, vec parameter) {
    real same[3][VL];
    const real *from[3];
    FN(seen) v = {.parameter = parameter};
    int64_t i = 0;
    int in_vectors = step[0] == 1;
    EACH (k, inputs) {
        from[k] = x[k];
        in_vectors &= step[k + 1] == 1 || step[k + 1] == 0;
        if (step[k + 1] != 0) continue;
        vstore(same[k], vset1(*from[k]));
        from[k] = same[k];
    }
    for (; in_vectors && i + VL <= n; i += VL) {
        EACH (k, inputs) v.in[k] = vload(from[k] + i * step[k + 1]);
        vstore(y + i, f(v));
    }
    for (; i < n; i += VL) {
        int lanes = (int)min_i64(VL, n - i);
        EACH (k, inputs) v.in[k] = FN(load_lanes)(from[k] + i * step[k + 1], step[k + 1], lanes);
        vstore_step(y + i * step[0], step[0], f(v), lanes);
    }
}

static inline ALWAYS_INLINE void FN(map_lines)(vec (*f)(FN(seen)), const int inputs, const map_lines *l, double parameter) {
    real *y = l->data[0];
    const real *x[3];
    EACH (k, inputs) x[k] = l->data[k + 1];
    for (int64_t line = 0; line < l->count; line++, y += l->apart[0]) {
        FN(map_line)(f, inputs, y, x, l->step, l->length, vset1((real)parameter));
        EACH (k, inputs) x[k] += l->apart[k + 1];
    }
}

static void FN(map)(convc_map which, const map_lines *l, double parameter) {
    switch (which) {
    case MAP_LEAKY_RELU: FN(map_lines)(FN(leaky_relu), 1, l, parameter); break;
    case MAP_GELU: FN(map_lines)(FN(gelu), 1, l, 0); break;
    case MAP_GELU_TANH: FN(map_lines)(FN(gelu_tanh), 1, l, 0); break;
    case MAP_SILU: FN(map_lines)(FN(silu), 1, l, 0); break;
    case MAP_SIGMOID: FN(map_lines)(FN(sigmoid), 1, l, 0); break;
    case MAP_TANH: FN(map_lines)(FN(tanh), 1, l, 0); break;
    case MAP_RELU: FN(map_lines)(FN(relu), 1, l, 0); break;
    case MAP_PRELU: FN(map_lines)(FN(prelu), 2, l, 0); break;
    case MAP_LEAKY_RELU_BACKWARD: FN(map_lines)(FN(leaky_relu_backward), 2, l, parameter); break;
    case MAP_GELU_BACKWARD: FN(map_lines)(FN(gelu_backward), 2, l, 0); break;
    case MAP_GELU_TANH_BACKWARD: FN(map_lines)(FN(gelu_tanh_backward), 2, l, 0); break;
    case MAP_SILU_BACKWARD: FN(map_lines)(FN(silu_backward), 2, l, 0); break;
    case MAP_SIGMOID_BACKWARD: FN(map_lines)(FN(sigmoid_backward), 2, l, 0); break;
    case MAP_TANH_BACKWARD: FN(map_lines)(FN(tanh_backward), 2, l, 0); break;
    case MAP_RELU_BACKWARD: FN(map_lines)(FN(relu_backward), 2, l, 0); break;
    case MAP_PRELU_BACKWARD: FN(map_lines)(FN(prelu_backward), 3, l, 0); break;
    case MAP_PRELU_TERMS: FN(map_lines)(FN(prelu_terms), 2, l, 0); break;
    }
}
