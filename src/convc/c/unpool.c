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

/* Negative for an index below 0 and for one beyond the end. */
static inline int64_t sign_outside(int64_t index, int64_t end) { return index | (int64_t)((uint64_t)end - 1 - (uint64_t)index); }

static void check_task(const void *context, int64_t task, void *workspace) {
    const index_job *j = context;
    int64_t sign = 0, pieces = lines_pieces(j->l);
    (void)workspace;
    for (int64_t i = split_point(pieces, j->l->tasks, task); i < split_point(pieces, j->l->tasks, task + 1); i++) {
        line_piece at = lines_piece(j->l, i);
        const int64_t *index = at.data[0];
        int64_t step = j->l->step[0];
        if (step == 1)
            for (int64_t k = 0; k < at.count; k++) sign |= sign_outside(index[k], j->end);
        else
            for (int64_t k = 0; k < at.count; k++) sign |= sign_outside(index[k * step], j->end);
    }
    if (sign < 0) atomic_store_explicit(j->wrong, 1, memory_order_relaxed);
}

static convc_status range_error(int64_t end, const char *name) {
    return convc_fail(CONVC_INVALID_VALUE, "indices must be from 0 to %lld, places in a channel of %s", (long long)end - 1, name);
}

static convc_status check_range(const convc_tensor *indices, int64_t end, const char *name) {
    atomic_int wrong;
    atomic_init(&wrong, 0);
    lines l = convc_lines_of(1, indices, NULL, NULL);
    index_job j = {&l, end, &wrong};
    TRY(convc_parallel(check_task, &j, l.tasks, INDEX_FLOPS * (double)convc_size(indices), 0));
    return atomic_load(&wrong) ? range_error(end, name) : CONVC_OK;
}

/* ---- the three moves ---- */

typedef struct move_job {
    const convc_kernels *kernels;
    pool pool;
    pool_move how;
    int64_t parts; /* of the channels of an image */
    int64_t bands; /* of its rows of outputs */
    index_span *band; /* (n, bands) */
    int odd; /* which bands are moved */
    atomic_int *wrong; /* whether an index names no place */
} move_job;

static void move(const move_job *j, const move_share *share) {
    if (!j->kernels->pool_move(&j->pool, share, j->how)) atomic_store_explicit(j->wrong, 1, memory_order_relaxed);
}

static move_share whole_image(const pool *p, int64_t n) {
    return (move_share){n, 0, p->x.c, 0, p->y.size[0] * p->y.size[1], 0, p->x.size[0] * p->x.size[1] * p->x.size[2]};
}

static void move_task(const void *context, int64_t task, void *workspace) {
    const move_job *j = context;
    move_share share = whole_image(&j->pool, task / j->parts);
    (void)workspace;
    share.c0 = split_point(j->pool.x.c, j->parts, task % j->parts);
    share.c1 = split_point(j->pool.x.c, j->parts, task % j->parts + 1);
    move(j, &share);
}

/* ---- channels last: threads that shared out the channels of an image would meet in its cache lines. Where the indices rise with the
 * outputs, as those of a pool do, bands of rows can be added side by side: first every second one, then those between ---- */

#define BANDS 32 /* of an image, at most */
#define BAND_OUTPUTS 16384 /* of a band, at least */
#define BANDED_IMAGES 4 /* at most: more of them are shared out among the threads */

static void band_task(const void *context, int64_t task, void *workspace) {
    const move_job *j = context;
    const volume *v = &j->pool.indices;
    int64_t n = task / j->bands, b = task % j->bands, rows = v->size[0] * v->size[1];
    (void)workspace;
    j->band[task] = j->kernels->index_reach(&j->pool, n, split_point(rows, j->bands, b), split_point(rows, j->bands, b + 1));
}

/* Where the first and the last indices of bands rise, and bands that are two apart share no pixel, only bands that are side by side
 * reach the same ones. */
static int bands_are_apart(const move_job *j) {
    for (int64_t n = 0; n < j->pool.x.n; n++)
        for (int64_t b = 0; b + 1 < j->bands; b++) {
            const index_span *at = j->band + n * j->bands + b;
            if (at[1].first < at[0].first || at[1].last < at[0].last) return 0;
            if (b + 2 < j->bands && at[2].first <= at[0].last) return 0;
        }
    return 1;
}

/* Even bands clear the pixels from the first to the last that they reach, odd ones those between that. */
static void band_of_rows_task(const void *context, int64_t task, void *workspace) {
    const move_job *j = context;
    int64_t some = (j->bands + 1 - j->odd) / 2, n = task / some, b = task % some * 2 + j->odd;
    move_share share = whole_image(&j->pool, n);
    const index_span *bands = j->band + n * j->bands;
    int64_t rows = share.row1;
    (void)workspace;
    share.row0 = split_point(rows, j->bands, b);
    share.row1 = split_point(rows, j->bands, b + 1);
    if (b > 0) share.pixel0 = j->odd ? bands[b - 1].last + 1 : bands[b].first;
    if (b + 1 < j->bands) share.pixel1 = j->odd ? bands[b + 1].first : bands[b].last + 1;
    move(j, &share);
}

/* The bands of an image, 0 where it is not worth while. */
static int64_t bands_of(const move_job *j) {
    const volume *y = &j->pool.y;
    int64_t rows = y->size[0] * y->size[1], most = min_i64(min_i64(BANDS, rows), rows * y->size[2] * y->c / BAND_OUTPUTS);
    return j->how == POOL_ADD && j->pool.channels_last && y->n <= BANDED_IMAGES && most > 3 ? most : 0;
}

static convc_status move_bands(move_job *j, double work) {
    for (j->odd = 0; j->odd < 2; j->odd++)
        TRY(convc_parallel(band_of_rows_task, j, j->pool.y.n * ((j->bands + 1 - j->odd) / 2), POOL_FLOPS * work, 0));
    return CONVC_OK;
}

static convc_status run_move(const convc_tensor *large, const char *name, const convc_tensor *small, const convc_tensor *indices,
                             pool_move how) {
    if (large->shape[0] == 0) return CONVC_OK;
    index_span bands[BANDED_IMAGES * BANDS];
    atomic_int wrong;
    atomic_init(&wrong, 0);
    move_job j = {.kernels = convc_kernels_for(large->dtype), .pool = convc_pool_of(large, small, indices), .how = how};
    int64_t end = whole_image(&j.pool, 0).pixel1;
    double work = (double)convc_size(large) + (double)convc_size(small);
    j.band = bands;
    j.wrong = &wrong;
    j.bands = bands_of(&j);
    if (j.bands) {
        int64_t count = j.pool.y.n * j.bands;
        TRY(convc_parallel(band_task, &j, count, INDEX_FLOPS * (double)convc_size(small), 0));
        for (int64_t i = 0; i < count; i++)
            if (bands[i].first < 0 || bands[i].last >= end) return range_error(end, name);
        if (bands_are_apart(&j)) return move_bands(&j, work);
    }
    if (how == POOL_PUT) TRY(check_range(indices, end, name)); /* before anything is written; gradients are checked in passing */
    j.parts = convc_channel_parts(&j.pool, work);
    TRY(convc_parallel(move_task, &j, j.pool.x.n * j.parts, POOL_FLOPS * work, 0));
    return atomic_load(&wrong) ? range_error(end, name) : CONVC_OK;
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
