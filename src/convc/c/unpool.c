/* Between a pool's outputs and the places in its input that indices name: the gradient of max pooling, unpooling and its gradient. */
#include <stdatomic.h>

#include "lines.h"
#include "pool.h"

#define INDEX_FLOPS 1.0 /* what checking an index costs */

/* ---- checks ---- */

/* The tensor that is written, its counterpart of the same dtype, and indices of `small`'s shape; both have one batch and channels. */
static convc_status check_move(const convc_tensor *written, const char *written_name, const convc_tensor *read,
                               const char *read_name, const convc_tensor *small, const convc_tensor *indices) {
    TRY(convc_check_output(written, written_name, 3, CONVC_MAX_NDIM));
    TRY(convc_check_tensor(read, read_name, written->ndim, written->ndim));
    TRY(convc_check_dtype(read, read_name, written, written_name));
    TRY(convc_check_indices(indices, small));
    for (int i = 0; i < 2; i++)
        if (read->shape[i] != written->shape[i])
            return convc_fail(CONVC_INVALID_VALUE, "%s must have the batch and channels of %s, (%lld, %lld), got (%lld, %lld)",
                              read_name, written_name, (long long)written->shape[0], (long long)written->shape[1],
                              (long long)read->shape[0], (long long)read->shape[1]);
    TRY(convc_check_disjoint(written, written_name, read, read_name));
    return convc_check_disjoint(written, written_name, indices, "indices");
}

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

static convc_status check_range(const convc_tensor *indices, const volume *plane, const char *name) {
    int64_t end = plane->size[0] * plane->size[1] * plane->size[2];
    atomic_int wrong;
    atomic_init(&wrong, 0);
    lines l = convc_lines_of(1, indices, NULL, NULL);
    index_job j = {&l, end, &wrong};
    TRY(convc_parallel(check_task, &j, l.tasks, INDEX_FLOPS * (double)convc_size(indices), 0));
    if (!atomic_load(&wrong)) return CONVC_OK;
    return convc_fail(CONVC_INVALID_VALUE, "indices must be from 0 to %lld, places in a channel of %s", (long long)end - 1, name);
}

/* ---- the three moves ---- */

typedef struct move_job {
    const convc_kernels *kernels;
    pool pool;
    pool_move how;
    int64_t parts; /* of the channels */
} move_job;

static void move_task(const void *context, int64_t task, void *workspace) {
    const move_job *j = context;
    int64_t part = task % j->parts;
    (void)workspace;
    j->kernels->pool_move(&j->pool, task / j->parts, split_point(j->pool.x.c, j->parts, part),
                          split_point(j->pool.x.c, j->parts, part + 1), j->how);
}

static convc_status run_move(const convc_tensor *large, const char *name, const convc_tensor *small, const convc_tensor *indices,
                             pool_move how) {
    if (large->shape[0] == 0) return CONVC_OK;
    move_job j = {.kernels = convc_kernels_for(large->dtype), .pool = convc_pool_of(large, small, indices), .how = how};
    TRY(check_range(indices, &j.pool.x, name));
    double work = (double)convc_size(large) + (double)convc_size(small);
    j.parts = convc_channel_parts(&j.pool, work);
    return convc_parallel(move_task, &j, j.pool.x.n * j.parts, POOL_FLOPS * work, 0);
}

/* ---- operators ---- */

convc_status convc_max_pool_backward(const convc_tensor *grad_y, const convc_tensor *indices, const convc_tensor *grad_x) {
    TRY(check_move(grad_x, "grad_x", grad_y, "grad", grad_y, indices));
    return run_move(grad_x, "grad_x", grad_y, indices, POOL_ADD);
}

convc_status convc_max_unpool_forward(const convc_tensor *x, const convc_tensor *indices, const convc_tensor *y) {
    TRY(check_move(y, "out", x, "x", x, indices));
    return run_move(y, "the output", x, indices, POOL_PUT);
}

convc_status convc_max_unpool_backward(const convc_tensor *grad_y, const convc_tensor *indices, const convc_tensor *grad_x) {
    TRY(check_move(grad_x, "grad_x", grad_y, "grad", grad_x, indices));
    return run_move(grad_y, "grad", grad_x, indices, POOL_TAKE);
}
