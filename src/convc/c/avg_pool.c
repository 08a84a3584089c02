/* Average pooling, its relatives and their gradients: averages and p-norms of windows, averages of shares. Checks, and how the work is
 * shared out. */
#include <math.h>

#include "pool.h"

#define PART 64 /* channels at least that one task has, where there are so many */

/* ---- forms ---- */

/* Averages know no dilation. */
static convc_pool_params undilated(const convc_pool_params *params, int ndim) {
    convc_pool_params plain = *params;
    for (int i = 0; i < ndim - 2 && i < CONVC_MAX_SPATIAL; i++) plain.dilation[i] = 1;
    return plain;
}

static avg_pool shares_of(const convc_tensor *x, const convc_tensor *y) {
    avg_pool a = {.pool = convc_pool_of(x, y, NULL), .power = 1};
    convc_pool_shares(&a.pool);
    return a;
}

static avg_pool windows_of(const convc_tensor *x, const convc_pool_params *params, const convc_tensor *y) {
    avg_pool a = {.pool = convc_pool_of(x, y, NULL), .power = 1};
    convc_pool_windows(&a.pool, params, x->ndim - 2);
    for (int k = 0; k < 3; k++) a.stop[k] = a.pool.x.size[k];
    for (int i = x->ndim - 3, k = 2; i >= 0; i--, k--) a.stop[k] += params->pad_after[i];
    return a;
}

/* ---- how they run ---- */

typedef struct avg_job {
    const convc_kernels *kernels;
    avg_pool form;
    pool_shares shares;
    int64_t parts; /* of the channels */
} avg_job;

static void forward_task(const void *context, int64_t task, void *workspace) {
    const avg_job *j = context;
    const pool_shares *s = &j->shares;
    int64_t part = task % j->parts, channels = j->form.pool.x.c;
    task /= j->parts;
    j->kernels->avg_pool(&j->form, split_point(s->units, s->tasks, task) * s->unit,
                         split_point(s->units, s->tasks, task + 1) * s->unit, split_point(channels, j->parts, part),
                         split_point(channels, j->parts, part + 1), workspace);
}

/* Where images have few outputs, the channels are shared out too; by the shape alone. */
static convc_status run_forward(const avg_pool *a) {
    const pool *p = &a->pool;
    avg_job j = {.kernels = convc_kernels_for(p->dtype), .form = *a, .shares = convc_share_pool(p), .parts = 1};
    if (p->channels_last) j.parts = min_i64(ceil_div(p->x.c, PART), ceil_div(j.shares.wanted, j.shares.tasks));
    return convc_parallel(forward_task, &j, j.shares.tasks * j.parts, POOL_FLOPS * j.shares.work, j.kernels->avg_pool_workspace);
}

static void backward_task(const void *context, int64_t task, void *workspace) {
    const avg_job *j = context;
    int64_t part = task % j->parts, channels = j->form.pool.x.c;
    j->kernels->avg_pool_backward(&j->form, task / j->parts, split_point(channels, j->parts, part),
                                  split_point(channels, j->parts, part + 1), workspace);
}

static convc_status run_backward(const avg_pool *a) {
    const pool *p = &a->pool;
    avg_job j = {.kernels = convc_kernels_for(p->dtype), .form = *a, .shares = convc_share_pool(p)};
    j.parts = convc_channel_parts(p, j.shares.work);
    return convc_parallel(backward_task, &j, p->x.n * j.parts, POOL_FLOPS * j.shares.work, j.kernels->avg_pool_workspace);
}

/* ---- averages of windows ---- */

convc_status convc_avg_pool_forward(const convc_tensor *x, const convc_pool_params *params, int count_include_pad,
                                    const convc_tensor *y) {
    TRY(convc_check_any(x, "x", 3, CONVC_MAX_NDIM));
    convc_pool_params plain = undilated(params, x->ndim);
    TRY(convc_check_pool(x, &plain, y));
    if (x->shape[0] == 0) return CONVC_OK;
    avg_pool a = windows_of(x, &plain, y);
    a.counts_padding = count_include_pad;
    return run_forward(&a);
}

/* grad_y of `shape`, which is that of an output for an input like grad_x. */
static convc_status check_gradient(const convc_tensor *grad_y, const int64_t *shape, const convc_tensor *grad_x) {
    TRY(convc_check_tensor(grad_y, "grad", grad_x->ndim, grad_x->ndim));
    TRY(convc_check_shape(grad_y, "grad", shape, grad_x->ndim));
    TRY(convc_check_dtype(grad_y, "grad", grad_x, "grad_x"));
    return convc_check_disjoint(grad_x, "grad_x", grad_y, "grad");
}

static convc_status check_windows(const convc_tensor *grad_y, const convc_pool_params *params, const convc_tensor *grad_x) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_output(grad_x, "grad_x", 3, CONVC_MAX_NDIM));
    TRY(convc_pool_output_shape(grad_x->ndim, grad_x->shape, params, shape));
    return check_gradient(grad_y, shape, grad_x);
}

convc_status convc_avg_pool_backward(const convc_tensor *grad_y, const convc_pool_params *params, int count_include_pad,
                                     const convc_tensor *grad_x) {
    TRY(convc_check_any(grad_x, "grad_x", 3, CONVC_MAX_NDIM));
    convc_pool_params plain = undilated(params, grad_x->ndim);
    TRY(check_windows(grad_y, &plain, grad_x));
    if (grad_x->shape[0] == 0) return CONVC_OK;
    avg_pool a = windows_of(grad_x, &plain, grad_y);
    a.counts_padding = count_include_pad;
    return run_backward(&a);
}

/* ---- averages of shares ---- */

convc_status convc_adaptive_avg_pool_forward(const convc_tensor *x, const convc_tensor *y) {
    TRY(convc_check_adaptive(x, y));
    if (x->shape[0] == 0) return CONVC_OK;
    avg_pool a = shares_of(x, y);
    return run_forward(&a);
}

convc_status convc_adaptive_avg_pool_backward(const convc_tensor *grad_y, const convc_tensor *grad_x) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_output(grad_x, "grad_x", 3, CONVC_MAX_NDIM));
    TRY(convc_check_any(grad_y, "grad", grad_x->ndim, grad_x->ndim));
    TRY(convc_adaptive_output_shape(grad_x->ndim, grad_x->shape, grad_y->shape + 2, shape));
    TRY(check_gradient(grad_y, shape, grad_x));
    if (grad_x->shape[0] == 0) return CONVC_OK;
    avg_pool a = shares_of(grad_x, grad_y);
    return run_backward(&a);
}

/* ---- norms of windows ---- */

static convc_status check_norm(double norm_type) {
    if (norm_type > 0 && isfinite(norm_type)) return CONVC_OK;
    return convc_fail(CONVC_INVALID_VALUE, "norm_type must be positive and finite (infinity is max pooling of |x|), got %g",
                      norm_type);
}

static avg_pool norm_of(const convc_tensor *x, double norm_type, const convc_pool_params *params, const convc_tensor *y) {
    avg_pool a = windows_of(x, params, y);
    a.counts_padding = a.is_norm = 1;
    a.power = norm_type;
    return a;
}

convc_status convc_lp_pool_forward(const convc_tensor *x, double norm_type, const convc_pool_params *params,
                                   const convc_tensor *y) {
    TRY(convc_check_any(x, "x", 3, CONVC_MAX_NDIM));
    TRY(check_norm(norm_type));
    convc_pool_params plain = undilated(params, x->ndim);
    TRY(convc_check_pool(x, &plain, y));
    if (x->shape[0] == 0) return CONVC_OK;
    avg_pool a = norm_of(x, norm_type, &plain, y);
    return run_forward(&a);
}

convc_status convc_lp_pool_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *y, double norm_type,
                                    const convc_pool_params *params, const convc_tensor *grad_x) {
    TRY(convc_check_any(grad_x, "grad_x", 3, CONVC_MAX_NDIM));
    TRY(check_norm(norm_type));
    convc_pool_params plain = undilated(params, grad_x->ndim);
    TRY(check_windows(grad_y, &plain, grad_x));
    const convc_tensor *const inputs[2] = {x, y}, *const like[2] = {grad_x, grad_y};
    const char *const names[2] = {"x", "y"};
    for (int i = 0; i < 2; i++) {
        TRY(convc_check_tensor(inputs[i], names[i], grad_x->ndim, grad_x->ndim));
        TRY(convc_check_shape(inputs[i], names[i], like[i]->shape, grad_x->ndim));
        TRY(convc_check_dtype(inputs[i], names[i], grad_y, "grad"));
        TRY(convc_check_disjoint(grad_x, "grad_x", inputs[i], names[i]));
    }
    if (grad_x->shape[0] == 0) return CONVC_OK;
    avg_pool a = norm_of(grad_x, norm_type, &plain, grad_y);
    a.values = convc_volume_of(x);
    a.results = convc_volume_of(y);
    return run_backward(&a);
}
