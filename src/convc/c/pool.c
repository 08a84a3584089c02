/* Max pooling and its gradient: checks, and how the work is shared out. */
#include <stdatomic.h>

#include "lines.h"
#include "pool.h"

#define POOL_FLOPS 8.0     /* what an element of x costs, in flops */
#define INDEX_FLOPS 1.0    /* what checking an index costs */
#define TASK_ELEMENTS 32768 /* of x, about */

/* ---- checks ---- */

static convc_status check_indices(const convc_tensor *indices, const convc_tensor *y) {
    TRY(convc_check_any(indices, "indices", y->ndim, y->ndim));
    if (indices->dtype != CONVC_I64) return convc_fail(CONVC_INVALID_TYPE, "indices must be int64");
    return convc_check_shape(indices, "indices", y->shape, y->ndim);
}

static convc_status check_forward(const convc_tensor *x, const convc_pool_params *params, const convc_tensor *y,
                                  const convc_tensor *indices) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(x, "x", 3, CONVC_MAX_NDIM));
    TRY(convc_pool_output_shape(x->ndim, x->shape, params, shape));
    TRY(convc_check_tensor(x, "x", x->ndim, x->ndim));
    TRY(convc_check_output(y, "out", x->ndim, x->ndim));
    TRY(convc_check_shape(y, "out", shape, x->ndim));
    TRY(convc_check_dtype(y, "out", x, "x"));
    TRY(convc_check_disjoint(y, "out", x, "x"));
    if (!indices) return CONVC_OK;
    TRY(check_indices(indices, y));
    convc_tensor written = *indices; /* the same memory as far as overlaps go */
    written.dtype = CONVC_F64;
    TRY(convc_check_output(&written, "indices", x->ndim, x->ndim));
    TRY(convc_check_disjoint(indices, "indices", x, "x"));
    return convc_check_disjoint(indices, "indices", y, "out");
}

static convc_status check_backward(const convc_tensor *grad_y, const convc_tensor *indices, const convc_tensor *grad_x) {
    TRY(convc_check_output(grad_x, "grad_x", 3, CONVC_MAX_NDIM));
    TRY(convc_check_tensor(grad_y, "grad", grad_x->ndim, grad_x->ndim));
    TRY(convc_check_dtype(grad_y, "grad", grad_x, "grad_x"));
    TRY(check_indices(indices, grad_y));
    for (int i = 0; i < 2; i++)
        if (grad_y->shape[i] != grad_x->shape[i])
            return convc_fail(CONVC_INVALID_VALUE,
                              "grad must have the batch and channels of grad_x, (%lld, %lld), got (%lld, %lld)",
                              (long long)grad_x->shape[0], (long long)grad_x->shape[1], (long long)grad_y->shape[0],
                              (long long)grad_y->shape[1]);
    TRY(convc_check_disjoint(grad_x, "grad_x", grad_y, "grad"));
    return convc_check_disjoint(grad_x, "grad_x", indices, "indices");
}

/* ---- forms ---- */

/* The step from element to element in the order d, h, w; 0 where there is no single one. */
static int64_t pixel_step_of(const volume *v) {
    axis pixels = axis_collapse((axis){{1, v->size[0], v->size[1], v->size[2]}, {0, v->stride[0], v->stride[1], v->stride[2]}});
    return axis_length(&pixels) == pixels.size[3] ? pixels.stride[3] : 0;
}

static int is_dense(const volume *v) {
    int64_t step = pixel_step_of(v), pixels = v->size[0] * v->size[1] * v->size[2];
    return step == 1 && (v->c == 1 || v->stride_c == pixels) && (v->n == 1 || v->stride_n == v->c * pixels);
}

/* Does the channel axis run closest in memory? */
static int channels_last(const volume *v) { return v->c > 1 && v->stride_c == 1 && !(v->size[2] > 1 && v->stride[2] == 1); }

static pool pool_of(const convc_tensor *x, const convc_tensor *y, const convc_tensor *indices) {
    pool p = {.dtype = x->dtype, .x = convc_volume_of(x), .y = convc_volume_of(y)};
    if (indices) p.indices = convc_volume_of(indices);
    for (int i = 0; i < 3; i++) p.kernel[i] = p.step[i] = p.dilation[i] = 1;
    if (p.x.size[2] == 1) p.x.stride[2] = 1; /* whatever it says */
    if (p.y.size[2] == 1) p.y.stride[2] = 1;
    p.channels_last = channels_last(&p.x);
    p.dense = is_dense(&p.y);
    p.pixel_step = pixel_step_of(&p.x);
    return p;
}

/* ---- forward ---- */

typedef struct pool_job {
    const convc_kernels *kernels;
    pool pool;
    int64_t units, unit, tasks; /* rows of outputs, or single ones where rows are few */
} pool_job;

static void forward_task(const void *context, int64_t task, void *workspace) {
    const pool_job *j = context;
    int64_t begin = split_point(j->units, j->tasks, task), end = split_point(j->units, j->tasks, task + 1);
    j->kernels->max_pool(&j->pool, begin * j->unit, end * j->unit, workspace);
}

convc_status convc_max_pool_forward(const convc_tensor *x, const convc_pool_params *params, const convc_tensor *y,
                                    const convc_tensor *indices) {
    TRY(check_forward(x, params, y, indices));
    if (x->shape[0] == 0) return CONVC_OK;
    pool_job j = {.kernels = convc_kernels_for(x->dtype), .pool = pool_of(x, y, indices)};
    pool *p = &j.pool;
    double taps = 1;
    for (int i = x->ndim - 3, to = 2; i >= 0; i--, to--) {
        p->kernel[to] = params->kernel[i];
        p->step[to] = params->stride[i];
        p->dilation[to] = params->dilation[i];
        p->pad[to] = params->pad_before[i];
        taps *= (double)params->kernel[i];
    }
    int64_t rows = p->y.n * (p->channels_last ? 1 : p->y.c) * p->y.size[0] * p->y.size[1];
    double work = (double)convc_size(x) + taps * (double)convc_size(y) / 8; /* memory first; large windows cost more */
    int64_t tasks = (int64_t)(work / TASK_ELEMENTS < 1e6 ? work / TASK_ELEMENTS : 1e6) + 1;
    j.unit = rows >= tasks ? p->y.size[2] : 1;
    j.units = j.unit == 1 ? rows * p->y.size[2] : rows;
    j.tasks = min_i64(tasks, j.units);
    return convc_parallel(forward_task, &j, j.tasks, POOL_FLOPS * work, j.kernels->pool_workspace);
}

/* ---- backward ---- */

typedef struct index_job {
    const lines *l;
    int64_t end;
    atomic_int *wrong;
} index_job;

/* Both an index below 0 and one beyond the end give a negative number. */
static void check_task(const void *context, int64_t task, void *workspace) {
    const index_job *j = context;
    int64_t sign = 0, pieces = lines_pieces(j->l);
    (void)workspace;
    for (int64_t i = split_point(pieces, j->l->tasks, task); i < split_point(pieces, j->l->tasks, task + 1); i++) {
        line_piece at = lines_piece(j->l, i);
        const int64_t *index = at.data[0];
        int64_t step = j->l->step[0];
        if (step == 1)
            for (int64_t k = 0; k < at.count; k++) sign |= index[k] | (j->end - 1 - index[k]);
        else
            for (int64_t k = 0; k < at.count; k++) sign |= index[k * step] | (j->end - 1 - index[k * step]);
    }
    if (sign < 0) atomic_store_explicit(j->wrong, 1, memory_order_relaxed);
}

static convc_status check_range(const convc_tensor *indices, int64_t end) {
    atomic_int wrong;
    atomic_init(&wrong, 0);
    lines l = convc_lines_of(1, indices, NULL, NULL);
    index_job j = {&l, end, &wrong};
    TRY(convc_parallel(check_task, &j, l.tasks, INDEX_FLOPS * (double)convc_size(indices), 0));
    if (!atomic_load(&wrong)) return CONVC_OK;
    return convc_fail(CONVC_INVALID_VALUE, "indices must be from 0 to %lld, places in a channel of grad_x", (long long)end - 1);
}

typedef struct unpool_job {
    const convc_kernels *kernels;
    pool pool;
    int64_t parts; /* of the channels */
} unpool_job;

static void backward_task(const void *context, int64_t task, void *workspace) {
    const unpool_job *j = context;
    int64_t part = task % j->parts;
    (void)workspace;
    j->kernels->max_unpool(&j->pool, task / j->parts, split_point(j->pool.x.c, j->parts, part),
                           split_point(j->pool.x.c, j->parts, part + 1));
}

/* A channel of an image is always one task's, so that no two add to one element and the order of additions never changes. */
convc_status convc_max_pool_backward(const convc_tensor *grad_y, const convc_tensor *indices, const convc_tensor *grad_x) {
    TRY(check_backward(grad_y, indices, grad_x));
    if (grad_x->shape[0] == 0) return CONVC_OK;
    unpool_job j = {.kernels = convc_kernels_for(grad_x->dtype), .pool = pool_of(grad_x, grad_y, indices)};
    const volume *x = &j.pool.x;
    TRY(check_range(indices, x->size[0] * x->size[1] * x->size[2]));
    double work = (double)convc_size(grad_x) + (double)convc_size(grad_y);
    int64_t threads = convc_threads_for(POOL_FLOPS * work), lanes = 64 / convc_itemsize(grad_x->dtype);
    j.parts = x->c;
    /* Channels that share cache lines stay together as far as the threads allow. */
    if (j.pool.channels_last) j.parts = x->n >= threads ? 1 : min_i64(ceil_div(x->c, lanes), ceil_div(threads, x->n));
    return convc_parallel(backward_task, &j, x->n * j.parts, POOL_FLOPS * work, 0);
}
