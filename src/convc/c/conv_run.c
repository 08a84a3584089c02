/* Running a convolution: the weights are packed, once for all or in passing, and meet the image by implicit GEMM (im2col happens while
 * packing), by direct sums or by Winograd's algorithm. */
#include <stdlib.h>
#include <string.h>

#include "conv.h"

/* All outputs of a group that meet the same columns: the channels of every output of a block, in the order of their addresses if they
 * are contiguous, else with the outputs of a row side by side. */
static axis outputs_of_column(const conv *c, const int64_t block_stride[3], int64_t stride_k) {
    int64_t k = c->y.c / c->groups;
    const int64_t *block = c->block;
    axis last = {{block[0], block[1], block[2], k}, {block_stride[0], block_stride[1], block_stride[2], stride_k}};
    axis first = {{block[0], block[1], k, block[2]}, {block_stride[0], block_stride[1], stride_k, block_stride[2]}};
    return axis_collapse(c->y.stride_c == 1 ? last : first);
}

/* The weights, (k, taps) or (taps, k). */
static matrix weights_of(const conv *c, int taps_on_rows, int channel_digit) {
    axis k = outputs_of_column(c, c->w_block, c->w.stride_n);
    axis taps = axis_collapse(convc_taps_of(&c->w, c->w.size, c->w.c, convc_ones, channel_digit));
    return (matrix){.data = c->w.data, .rows = taps_on_rows ? taps : k, .cols = taps_on_rows ? k : taps};
}

/* ---- implicit GEMM ---- */

static gemm_job forward_job(const conv *c, window *w, algorithm how, const convc_kernels *kernels) {
    gemm_job job = {.dtype = c->dtype, .groups = c->groups, .c = c->y.data, .activation = c->activation, .kernels = kernels};
    job.unsplit = 1; /* the same bits whether or not the weights were packed beforehand */
    int64_t outs = c->y.c / c->groups * block_size(c), pixels = c->y.n * c->y.size[0] * c->y.size[1] * c->y.size[2];
    axis channels = outputs_of_column(c, c->y_block, c->y.stride_c),
         positions = axis_collapse(convc_pixels_of(&c->y, c->y.size, convc_ones));
    /* The order of the taps is free. Where pixels run along the vectors, all taps of a channel follow each other, so that L1 still
     * has the rows that they share; where channels do, channels are the runs. */
    int pixels_on_cols = how == GEMM_PIXELS, channel_digit = how == GEMM_CHANNELS ? 3 : 0;
    matrix x = convc_columns_of(c, w, pixels_on_cols, channel_digit), weights = weights_of(c, !pixels_on_cols, channel_digit);
    int64_t x_group = c->x.c / c->groups * c->x.stride_c, w_group = c->w_group;
    job.k = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2];
    job.c_group = c->y.c / c->groups * c->y.stride_c;
    job.m = pixels_on_cols ? outs : pixels;
    job.n = pixels_on_cols ? pixels : outs;
    job.a = pixels_on_cols ? weights : x;
    job.b = pixels_on_cols ? x : weights;
    job.a_group = pixels_on_cols ? w_group : x_group;
    job.b_group = pixels_on_cols ? x_group : w_group;
    job.c_rows = pixels_on_cols ? channels : positions;
    job.c_cols = pixels_on_cols ? positions : channels;
    job.row_bias = pixels_on_cols ? c->bias : NULL;
    job.col_bias = pixels_on_cols ? NULL : c->bias;
    return job;
}

/* ---- running: pack the weights once, then run any number of times ---- */

typedef struct row_job {
    const conv *c;
    direct_tile tile;
    const void *packed;
    void (*run)(const conv *c, const direct_tile *tile, const void *packed, int64_t plane, int64_t oh0, int64_t oh1,
                void *workspace);
    int64_t parts; /* of a plane's rows */
} row_job;

static void row_task(const void *context, int64_t task, void *workspace) {
    const row_job *j = context;
    int64_t part = task % j->parts, rows = j->c->y.size[1];
    j->run(j->c, &j->tile, j->packed, task / j->parts, split_point(rows, j->parts, part), split_point(rows, j->parts, part + 1),
           workspace);
}

#define ROW_TASKS 64 /* that a direct convolution is shared out in, */
#define TASK_ROWS 4 /* if it has so many rows for each */

static convc_status run_rows(const conv *c, algorithm how, const convc_kernels *kernels, const void *packed) {
    row_job j = {.c = c, .packed = packed, .run = kernels->depthwise_rows};
    if (how == DIRECT_ROWS) j.run = kernels->direct_rows;
    if (how == DIRECT_OUTS) j.run = kernels->direct_outs;
    int64_t taps = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2];
    int64_t planes = c->y.n * c->y.size[0] * (how == DIRECT_CHANNELS ? 1 : c->groups);
    j.parts = min_i64(ceil_div(c->y.size[1], TASK_ROWS), ceil_div(ROW_TASKS, planes));
    double flops = 2.0 * (double)(c->y.n * c->y.c * taps) * (double)(c->y.size[0] * c->y.size[1] * c->y.size[2]);
    size_t workspace = 0;
    if (how != DIRECT_CHANNELS) {
        convc_direct_tile(c, kernels, &j.tile);
        int64_t inputs = c->w.c * c->w.size[0] * j.tile.in_rows * j.tile.phases * j.tile.line;
        workspace = (size_t)(inputs * convc_itemsize(c->dtype) + taps * (int64_t)sizeof(int32_t));
    }
    if (how == DIRECT_OUTS) workspace += kernels->outs_scratch;
    return convc_parallel(row_task, &j, planes * j.parts, flops, workspace);
}

/* ---- a channels-last copy of the image, which implicit GEMM reads once for each tap ---- */

#define TURNED_BYTES (4 << 20) /* at most */

/* Would the copy be worth it, and can it be made? */
static int turns(const conv *c) {
    const volume *x = &c->x;
    int64_t bytes = convc_volume_bytes(x, c->dtype);
    int dense = x->stride[2] == 1 && x->stride[1] == x->size[2] && (x->size[0] == 1 || x->stride[0] == x->size[1] * x->size[2]);
    return dense && x->stride_c != 1 && c->w.size[0] * c->w.size[1] * c->w.size[2] > 1 && bytes > 0 && bytes <= TURNED_BYTES;
}

/* The bias of every output of a block, in the order of outputs_of_column. The caller frees it. */
static void *bias_of_blocks(const conv *c) {
    int64_t item = convc_itemsize(c->dtype), k = c->y.c / c->groups, outs = k * block_size(c);
    int64_t ones[3] = {0};
    axis channels = outputs_of_column(c, ones, 1);
    char *bias = malloc((size_t)(c->groups * outs * item));
    for (int64_t i = 0; bias && i < c->groups * outs; i++)
        memcpy(bias + i * item, (const char *)c->bias + (i / outs * k + axis_offset(&channels, i % outs)) * item, (size_t)item);
    return bias;
}

static convc_status run_gemm(const conv *c, algorithm how, const convc_kernels *kernels, const void *packed) {
    window w;
    gemm_job job = forward_job(c, &w, how, kernels);
    void *bias = NULL;
    if (c->bias && block_size(c) > 1) {
        bias = bias_of_blocks(c);
        if (!bias) return convc_fail(CONVC_NO_MEMORY, "no memory for copies of the bias");
        *(how == GEMM_PIXELS ? &job.row_bias : &job.col_bias) = bias;
    }
    if (how == GEMM_PIXELS) job.packed_a = packed;
    else job.packed_b = packed;
    convc_gemm_prepare(&job);
    convc_status status = convc_gemm_run(&job);
    free(bias);
    return status;
}

static convc_status run_once(const conv *c, algorithm how, const convc_kernels *kernels);

/* With weights that were packed beforehand, or NULL. */
static convc_status run_turned(const conv *c, const convc_kernels *kernels, const void *packed) {
    conv turned = *c;
    convc_loan loan;
    void *copy = convc_borrow(CONVC_SCRATCH, (size_t)convc_volume_bytes(&c->x, c->dtype), &loan);
    if (!copy) return convc_fail(CONVC_NO_MEMORY, "no memory for a channels-last copy of the image");
    convc_status status = convc_turn(&turned.x, c->dtype, 1, copy);
    if (status == CONVC_OK)
        status = packed ? run_gemm(&turned, GEMM_CHANNELS, kernels, packed) : run_once(&turned, GEMM_CHANNELS, kernels);
    convc_return(CONVC_SCRATCH, &loan);
    return status;
}

/* ---- the weights, packed ---- */

int64_t convc_packed_size(const conv *c, algorithm how, const convc_kernels *kernels) {
    if (how == DIRECT_ROWS || how == DIRECT_CHANNELS) return c->y.c * c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2];
    if (is_winograd(how)) return convc_winograd_size(c, how, kernels);
    window w;
    gemm_job job = forward_job(c, &w, how, kernels);
    convc_gemm_prepare(&job);
    return how == GEMM_PIXELS ? convc_packed_a_size(&job) : convc_packed_b_size(&job);
}

convc_status convc_pack_weights(const conv *c, algorithm how, const convc_kernels *kernels, void *packed) {
    if (is_winograd(how)) return convc_winograd_pack(c, how, kernels, packed);
    if (how == DIRECT_ROWS || how == DIRECT_CHANNELS) {
        kernels->direct_pack(c, how == DIRECT_CHANNELS, packed);
        return CONVC_OK;
    }
    window w;
    gemm_job job = forward_job(c, &w, how, kernels);
    convc_gemm_prepare(&job);
    return (how == GEMM_PIXELS ? convc_pack_a : convc_pack_b)(&job, packed);
}

convc_status convc_run_packed(const conv *c, algorithm how, const convc_kernels *kernels, const void *packed) {
    if (how == DIRECT_ROWS || how == DIRECT_OUTS || how == DIRECT_CHANNELS) return run_rows(c, how, kernels, packed);
    if (is_winograd(how)) return convc_winograd_run(c, how, kernels, packed);
    return how == GEMM_CHANNELS && turns(c) ? run_turned(c, kernels, packed) : run_gemm(c, how, kernels, packed);
}

/* ---- weights packed in passing: a chunk of them at a time, in memory that is kept and that the caches still hold ---- */

#define WEIGHT_BYTES (4 << 20)

conv convc_part_of(const conv *c, int64_t first, int64_t count) {
    conv part = *c;
    int64_t outs = c->groups > 1 ? c->y.c / c->groups : 1;
    part.y.c = count * outs;
    part.y.data = element(&c->y, first * outs * c->y.stride_c, c->dtype);
    part.w.data = element(&c->w, first * (c->groups > 1 ? c->w_group : c->w.stride_n), c->dtype);
    if (c->bias) part.bias = (const char *)c->bias + first * outs * convc_itemsize(c->dtype);
    if (c->groups == 1) return part;
    part.groups = count;
    part.x.c = count * c->w.c;
    part.x.data = element(&c->x, first * c->w.c * c->x.stride_c, c->dtype);
    return part;
}

static convc_status run_in_chunks(const conv *c, algorithm how, const convc_kernels *kernels) {
    int64_t bytes = convc_times(convc_packed_size(c, how, kernels), convc_itemsize(c->dtype));
    if (bytes < 0) return convc_fail(CONVC_NO_MEMORY, "no memory for the packed weights");
    int64_t units = c->groups > 1 ? c->groups : c->y.c, step = c->groups > 1 ? 1 : kernels->nr;
    int64_t chunk =
        bytes <= WEIGHT_BYTES ? units : min_i64(units, max_i64(1, units / step / ceil_div(bytes, WEIGHT_BYTES)) * step);
    for (int64_t first = 0; first < units; first += chunk) {
        conv part = convc_part_of(c, first, min_i64(chunk, units - first));
        convc_loan loan;
        void *packed =
            convc_borrow(CONVC_WEIGHTS, (size_t)(convc_packed_size(&part, how, kernels) * convc_itemsize(c->dtype)), &loan);
        if (!packed) return convc_fail(CONVC_NO_MEMORY, "no memory for the packed weights");
        convc_status status = convc_pack_weights(&part, how, kernels, packed);
        if (status == CONVC_OK) status = convc_run_packed(&part, how, kernels, packed);
        convc_return(CONVC_WEIGHTS, &loan);
        TRY(status);
    }
    return CONVC_OK;
}

#define ONCE_BYTES \
    (1 << 30) /* who says that weights are larger may have a view of a single number, and is told if memory does not hold them */

/* The product packs its operands as it needs them: every weight once, if they are B, or if all pixels fit one block. Else they are packed
 * beforehand. */
static convc_status run_once(const conv *c, algorithm how, const convc_kernels *kernels) {
    int64_t pixels = c->y.n * c->y.size[0] * c->y.size[1] * c->y.size[2];
    int64_t bytes = convc_volume_bytes(&c->w, c->dtype);
    int once = how == GEMM_CHANNELS || (how == GEMM_PIXELS && pixels <= kernels->block_cols);
    return once && bytes >= 0 && bytes <= ONCE_BYTES ? run_gemm(c, how, kernels, NULL) : run_in_chunks(c, how, kernels);
}

convc_status convc_run_conv(const conv *c) {
    const convc_kernels *kernels = convc_kernels_for(c->dtype);
    algorithm how = convc_choose(c, kernels, ONCE);
    if (is_winograd(how)) return convc_winograd_run(c, how, kernels, NULL);
    return how == GEMM_CHANNELS && turns(c) ? run_turned(c, kernels, NULL) : run_once(c, how, kernels);
}

static int64_t packed_size_of_phases(const conv *c, const convc_kernels *kernels) {
    int64_t size = 0;
    for (int64_t i = 0; i < c->phase_count; i++) size += convc_packed_size(&c->phases[i], DIRECT_ROWS, kernels);
    return size;
}

convc_status convc_run_phases(const conv *c) {
    const convc_kernels *kernels = convc_kernels_for(c->dtype);
    int64_t item = convc_itemsize(c->dtype);
    convc_loan loan;
    char *packed = convc_borrow(CONVC_WEIGHTS, (size_t)(packed_size_of_phases(c, kernels) * item), &loan), *to = packed;
    if (!packed) return convc_fail(CONVC_NO_MEMORY, "no memory for the packed weights");
    for (int64_t i = 0; i < c->phase_count; i++) {
        kernels->direct_pack(&c->phases[i], 0, to);
        to += convc_packed_size(&c->phases[i], DIRECT_ROWS, kernels) * item;
    }
    convc_status status = run_rows(c, DIRECT_ROWS, kernels, packed);
    convc_return(CONVC_WEIGHTS, &loan);
    return status;
}
