/* Runs random convolutions, locally connected layers, pools and their gradients, on integers so that results are exact, under every
 * instruction set of the machine, and compares each with the scalar kernels; and what rounds, Winograd's convolution with the sums of
 * products, and normalisations. Needs nothing but the C core: it is also what a cross-compiled build is tried with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convc.h"

static uint64_t state = 1;

static int64_t draw(int64_t low, int64_t high) { /* inclusive */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((state >> 33) % (uint64_t)(high - low + 1));
}

static int64_t count(const int64_t *shape) { return shape[0] * shape[1] * shape[2] * shape[3]; }

/* A dense (n, c, h, w) tensor, channels last if so asked; filled with small integers, or with a value that no result has. */
static convc_tensor tensor(const int64_t shape[4], convc_dtype dtype, int channels_last, int fill) {
    int64_t item = dtype == CONVC_F32 ? 4 : 8, c = shape[1], h = shape[2], w = shape[3], n = count(shape);
    convc_tensor t = {.dtype = dtype, .ndim = 4, .data = malloc((size_t)(n * item))};
    const int64_t first[4] = {c * h * w * item, h * w * item, w * item, item};
    const int64_t last[4] = {c * h * w * item, item, w * c * item, c * item};
    if (!t.data) abort();
    for (int i = 0; i < 4; i++) {
        t.shape[i] = shape[i];
        t.strides[i] = channels_last ? last[i] : first[i];
    }
    for (int64_t i = 0; i < n; i++) {
        double value = fill ? (double)draw(-3, 3) : 0.5;
        if (dtype == CONVC_F32) ((float *)t.data)[i] = (float)value;
        else ((double *)t.data)[i] = value;
    }
    return t;
}

static int same(const convc_tensor *a, const convc_tensor *b) {
    size_t item = a->dtype == CONVC_F32 ? 4 : 8;
    return memcmp(a->data, b->data, (size_t)count(a->shape) * item) == 0;
}

static void must(convc_status status) {
    if (status == CONVC_OK) return;
    fprintf(stderr, "%s\n", convc_last_error());
    exit(2);
}

/* y, grad_x and grad_w of one convolution. */
static void run(const char *isa, const convc_tensor *x, const convc_tensor *w, const convc_tensor *grad,
                const convc_conv_params *p, int last, convc_tensor out[3]) {
    must(convc_set_isa(isa));
    out[0] = tensor(grad->shape, x->dtype, last, 0);
    out[1] = tensor(x->shape, x->dtype, last, 0);
    out[2] = tensor(w->shape, x->dtype, 0, 0);
    must(convc_conv_forward(x, w, NULL, p, &out[0]));
    must(convc_conv_backward_data(grad, w, p, &out[1]));
    must(convc_conv_backward_weight(grad, x, p, &out[2]));
}

/* Of a max pool with the convolution's window: values with and without indices, the indices, the gradient; of an average pool with an
 * undilated one: values and gradient. */
static void run_pool(const convc_tensor *x, const convc_conv_params *c, const int64_t *w_shape, int last, convc_tensor out[6]) {
    convc_pool_params p = {.fit = CONVC_CEIL};
    int64_t shape[4];
    for (int i = 0; i < 2; i++) {
        p.kernel[i] = w_shape[i + 2];
        p.stride[i] = c->stride[i];
        p.dilation[i] = c->dilation[i];
        p.pad_before[i] = p.pad_after[i] = p.kernel[i] / 2;
    }
    must(convc_pool_output_shape(4, x->shape, &p, shape));
    for (int k = 0; k < 3; k++) out[k] = tensor(shape, k == 2 ? CONVC_F64 : x->dtype, last, 0);
    out[3] = tensor(x->shape, x->dtype, last, 0);
    out[2].dtype = CONVC_I64;
    must(convc_max_pool_forward(x, &p, &out[0], NULL));
    must(convc_max_pool_forward(x, &p, &out[1], &out[2]));
    must(convc_max_pool_backward(&out[1], &out[2], &out[3]));
    p.dilation[0] = p.dilation[1] = 1;
    must(convc_pool_output_shape(4, x->shape, &p, shape));
    out[4] = tensor(shape, x->dtype, last, 0);
    out[5] = tensor(x->shape, x->dtype, last, 0);
    must(convc_avg_pool_forward(x, &p, 0, &out[4]));
    must(convc_avg_pool_backward(&out[4], &p, 0, &out[5]));
}

static double value(const convc_tensor *t, int64_t i) {
    return t->dtype == CONVC_F32 ? (double)((float *)t->data)[i] : ((double *)t->data)[i];
}

/* Is a within its rounding errors of the exact b? */
static int close(const convc_tensor *a, const convc_tensor *b) {
    double most = 1, tolerance = a->dtype == CONVC_F32 ? 1e-4 : 1e-12;
    for (int64_t i = 0; i < count(b->shape); i++)
        if (value(b, i) > most || -value(b, i) > most) most = value(b, i) > 0 ? value(b, i) : -value(b, i);
    for (int64_t i = 0; i < count(a->shape); i++) {
        double apart = value(a, i) - value(b, i);
        if (!(apart <= tolerance * most && -apart <= tolerance * most)) return 0;
    }
    return 1;
}

/* How many of y and grad_x of a 3 x 3 convolution are not what they should be. */
static int run_winograd(const char *isa, int *compared) {
    const int64_t n = draw(1, 3), c = draw(1, 40), k = draw(1, 40), xs[4] = {n, c, draw(3, 30), draw(3, 70)},
                  ws[4] = {k, c, 3, 3};
    convc_conv_params p = {.stride = {1, 1}, .dilation = {1, 1}, .pad_before = {draw(0, 2), draw(0, 2)}, .groups = 1};
    convc_dtype dtype = draw(0, 1) ? CONVC_F32 : CONVC_F64;
    int last = (int)draw(0, 1), failed = 0;
    int64_t ys[4];
    must(convc_conv_output_shape(4, xs, ws, &p, ys));
    convc_tensor x = tensor(xs, dtype, last, 1), w = tensor(ws, dtype, 0, 1), grad = tensor(ys, dtype, last, 1);
    convc_tensor want[3], got[3];
    p.algorithm = CONVC_DIRECT;
    run("scalar", &x, &w, &grad, &p, last, want);
    p.algorithm = CONVC_WINOGRAD;
    run(isa, &x, &w, &grad, &p, last, got);
    for (int i = 0; i < 3; i++) {
        failed += i < 2 && !close(&got[i], &want[i]);
        free(want[i].data);
        free(got[i].data);
    }
    *compared += 2;
    free(x.data);
    free(w.data);
    free(grad.data);
    return failed;
}

/* y and grad_x of a normalisation by the batch, or else by groups of two channels. */
static void norm(const char *isa, const convc_tensor *x, const convc_tensor *grad, int by_batch, int last, convc_tensor out[2]) {
    const convc_batch_norm_params p = {.training = 1, .eps = 1};
    const int64_t item = 8, n = x->shape[0], c = x->shape[1], sets[4] = {by_batch ? 1 : n, by_batch ? c : c / 2, 1, 1};
    convc_tensor kept[2];
    must(convc_set_isa(isa));
    for (int i = 0; i < 2; i++) {
        out[i] = tensor(x->shape, x->dtype, last, 0);
        kept[i] = tensor(sets, CONVC_F64, 0, 0);
        kept[i].ndim = by_batch ? 1 : 2;
        if (by_batch) kept[i].shape[0] = c;
        kept[i].strides[0] = by_batch ? item : sets[1] * item;
    }
    if (by_batch) must(convc_batch_norm_forward(x, NULL, NULL, NULL, NULL, &p, &out[0], &kept[0], &kept[1]));
    else must(convc_group_norm_forward(x, c / 2, NULL, NULL, p.eps, &out[0], &kept[0], &kept[1]));
    if (by_batch) must(convc_batch_norm_backward(grad, x, NULL, &kept[0], &kept[1], 1, &out[1], NULL, NULL));
    else must(convc_group_norm_backward(grad, x, c / 2, NULL, &kept[0], &kept[1], &out[1], NULL, NULL));
    free(kept[0].data);
    free(kept[1].data);
}

/* How many of y and grad_x of a normalisation are not what they should be. */
static int run_norm(const char *isa, int *compared) {
    const int64_t shape[4] = {draw(2, 4), 2 * draw(1, 70), draw(1, 20), draw(1, 20)};
    convc_dtype dtype = draw(0, 1) ? CONVC_F32 : CONVC_F64;
    int last = (int)draw(0, 1), by_batch = (int)draw(0, 1), failed = 0;
    convc_tensor x = tensor(shape, dtype, last, 1), grad = tensor(shape, dtype, last, 1), want[2], got[2];
    norm("scalar", &x, &grad, by_batch, last, want);
    norm(isa, &x, &grad, by_batch, last, got);
    for (int i = 0; i < 2; i++) {
        failed += !close(&got[i], &want[i]);
        free(want[i].data);
        free(got[i].data);
    }
    *compared += 2;
    free(x.data);
    free(grad.data);
    return failed;
}

/* How many of y, grad_x, grad_w and grad_bias of a locally connected layer differ from the scalar ones. */
static int run_local(const char *isa, int *compared) {
    const int64_t n = draw(1, 9), c = draw(1, 20), k = draw(1, 40), r = draw(1, 4), s = draw(1, 4);
    const int64_t xs[4] = {n, c, draw(4, 12), draw(4, 20)};
    convc_conv_params p = {.stride = {draw(1, 3), draw(1, 3)}, .dilation = {1, 1}, .groups = 1};
    int64_t ws[4] = {k, c, r, s}, ys[4];
    convc_dtype dtype = draw(0, 1) ? CONVC_F32 : CONVC_F64;
    int last = (int)draw(0, 1), failed = 0;
    for (int i = 0; i < 2; i++) p.pad_before[i] = draw(0, 2);
    must(convc_conv_output_shape(4, xs, ws, &p, ys));
    int64_t positions = ys[2] * ys[3];
    ws[0] *= positions;
    const int64_t bs[4] = {positions, k, 1, 1};
    convc_tensor x = tensor(xs, dtype, last, 1), w = tensor(ws, dtype, 0, 1), grad = tensor(ys, dtype, last, 1), out[2][4];
    for (int i = 0; i < 2; i++) {
        out[i][0] = tensor(ys, dtype, last, 0);
        out[i][1] = tensor(xs, dtype, last, 0);
        out[i][2] = tensor(ws, dtype, 0, 0);
        out[i][3] = tensor(bs, dtype, 0, 0);
        convc_tensor weights[2] = {w, out[i][2]}, bias = out[i][3];
        for (int j = 0; j < 2; j++) {
            const int64_t filter = weights[j].strides[0];
            const convc_tensor flat = weights[j];
            weights[j] = (convc_tensor){.data = flat.data, .dtype = dtype, .ndim = 5};
            for (int axis = 0; axis < 5; axis++) {
                weights[j].shape[axis] = axis == 0 ? positions : axis == 1 ? k : flat.shape[axis - 1];
                weights[j].strides[axis] = axis == 0 ? k * filter : axis == 1 ? filter : flat.strides[axis - 1];
            }
        }
        bias.ndim = 2;
        must(convc_set_isa(i ? isa : "scalar"));
        must(convc_local_backward_data(&grad, &weights[0], &p, &out[i][1]));
        must(convc_local_backward_weight(&grad, &x, &p, &weights[1]));
        must(convc_local_backward_bias(&grad, &bias));
        must(convc_local_forward(&x, &weights[0], &bias, &p, &out[i][0]));
    }
    for (int i = 0; i < 4; i++) {
        failed += !same(&out[0][i], &out[1][i]);
        free(out[0][i].data);
        free(out[1][i].data);
    }
    *compared += 4;
    free(x.data);
    free(w.data);
    free(grad.data);
    return failed;
}

#define RESULTS 9

int main(int argc, char **argv) {
    const char *const isas[] = {"scalar", "sse2", "avx2", "avx512", "neon"};
    const char *const names[RESULTS] = {
        "y", "grad_x", "grad_w", "pool", "indexed pool", "indices", "pool's grad_x", "average", "average's grad_x"};
    int rounds = argc > 1 ? atoi(argv[1]) : 200, compared = 0, failed = 0;
    for (int round = 0; round < rounds; round++) {
        convc_conv_params p = {.groups = draw(0, 2) ? 1 : draw(2, 9), .algorithm = draw(0, 1) ? CONVC_DIRECT : CONVC_GEMM};
        int64_t ws[4], xs[4], ys[4];
        ws[0] = draw(1, 20) * p.groups;
        ws[1] = draw(1, 20);
        xs[0] = draw(1, 3);
        xs[1] = ws[1] * p.groups;
        for (int i = 0; i < 2; i++) {
            ws[i + 2] = draw(1, 4);
            p.stride[i] = draw(1, 3);
            p.dilation[i] = draw(1, 2);
            p.pad_before[i] = draw(0, 2);
            p.pad_after[i] = draw(0, 2);
            xs[i + 2] = draw((ws[i + 2] - 1) * p.dilation[i] + 1, 40);
        }
        must(convc_conv_output_shape(4, xs, ws, &p, ys));
        convc_dtype dtype = draw(0, 1) ? CONVC_F32 : CONVC_F64;
        int last = (int)draw(0, 1);
        convc_tensor x = tensor(xs, dtype, last, 1), w = tensor(ws, dtype, 0, 1), grad = tensor(ys, dtype, last, 1);
        convc_tensor want[RESULTS], got[RESULTS];
        run("scalar", &x, &w, &grad, &p, last, want);
        run_pool(&x, &p, ws, last, want + 3);
        for (int i = 1; i < 5; i++) {
            if (!convc_isa_available(isas[i])) continue;
            run(isas[i], &x, &w, &grad, &p, last, got);
            run_pool(&x, &p, ws, last, got + 3);
            int apart = run_winograd(isas[i], &compared);
            if (apart) printf("round %d: %s differs in %d results of Winograd's algorithm\n", round, isas[i], apart);
            failed += apart;
            apart = run_norm(isas[i], &compared);
            if (apart) printf("round %d: %s differs in %d results of a normalisation\n", round, isas[i], apart);
            failed += apart;
            apart = run_local(isas[i], &compared);
            if (apart) printf("round %d: %s differs in %d results of a locally connected layer\n", round, isas[i], apart);
            failed += apart;
            for (int k = 0; k < RESULTS; k++, compared++) {
                if (!same(&want[k], &got[k])) {
                    failed++;
                    printf("round %d: %s differs in %s\n", round, isas[i], names[k]);
                }
                free(got[k].data);
            }
        }
        for (int k = 0; k < RESULTS; k++) free(want[k].data);
        free(x.data);
        free(w.data);
        free(grad.data);
    }
    printf("%d results compared, %d differ\n", compared, failed);
    return failed != 0;
}
