/* Winograd's convolution: where it may run, what it costs, and its rounds of transforming and multiplying. */
#include "winograd.h"

#define ROUND_BYTES \
    (5 << 19) /* of transformed images for each thread: they should stay in the caches until they are multiplied */
#define ROUND_THREADS 4 /* that it grows with */
#define PART_TILES 30 /* tiles that one task transforms */
#define TRANSFORM_FLOPS 8.0 /* what an element transformed costs, in flops of multiplication */

int convc_winograd_fits(const conv *c) {
    for (int i = 1; i < 3; i++)
        if (c->w.size[i] != 3 || c->step[i] != 1 || c->dilation[i] > INT32_MAX) return 0;
    return 1;
}

static winograd_job job_of(const conv *c, const convc_kernels *kernels) {
    winograd_job j = {.c = c};
    for (int i = 0; i < 2; i++) j.phases[i] = min_i64(c->dilation[i + 1], c->y.size[i + 1]);
    j.tile_rows = ceil_div(ceil_div(c->y.size[1], c->dilation[1]), WINOGRAD_OUT);
    j.tile_cols = ceil_div(ceil_div(c->y.size[2], c->dilation[2]), WINOGRAD_OUT);
    j.vectors = ceil_div(c->w.c, kernels->lanes);
    j.depth = (c->w.size[0] - 1) * j.vectors * kernels->lanes + c->w.c;
    j.panels = ceil_div(c->y.c / c->groups, kernels->nr);
    return j;
}

static int64_t tiles_of(const winograd_job *j) {
    return j->c->y.n * j->c->y.size[0] * j->phases[0] * j->phases[1] * j->tile_rows * j->tile_cols;
}

int64_t convc_winograd_tiles(const conv *c) {
    winograd_job j = job_of(c, convc_kernels_for(c->dtype));
    return tiles_of(&j);
}

/* Elements of a group's transformed filters, or -1. */
static int64_t group_size(const winograd_job *j, const convc_kernels *kernels) {
    return convc_times(convc_times(j->panels, WINOGRAD_POINTS * kernels->nr), j->depth);
}

/* ---- filters ---- */

int64_t convc_winograd_size(const conv *c, const convc_kernels *kernels) {
    winograd_job j = job_of(c, kernels);
    return convc_times(c->groups, group_size(&j, kernels));
}

typedef struct filters {
    winograd_job job;
    const convc_kernels *kernels;
    void *u;
    int64_t tasks; /* of a group */
} filters;

static void weight_task(const void *context, int64_t task, void *workspace) {
    const filters *f = context;
    winograd_job j = f->job;
    (void)workspace;
    j.group = task / f->tasks;
    f->kernels->winograd_weights(&j, task % f->tasks,
                                 (char *)f->u + j.group * group_size(&j, f->kernels) * convc_itemsize(j.c->dtype));
}

convc_status convc_winograd_pack(const conv *c, const convc_kernels *kernels, void *u) {
    filters f = {.job = job_of(c, kernels), .kernels = kernels, .u = u};
    f.tasks = f.job.panels * c->w.size[0] * f.job.vectors;
    return convc_parallel(weight_task, &f, c->groups * f.tasks, TRANSFORM_FLOPS * (double)convc_winograd_size(c, kernels), 0);
}

/* ---- images ---- */

typedef struct round {
    const winograd_job *job;
    void (*run)(const winograd_job *job, int64_t task, void *workspace);
} round;

static void round_task(const void *context, int64_t task, void *workspace) {
    const round *r = context;
    r->run(r->job, task, workspace);
}

static convc_status transform_images(winograd_job *j, const convc_kernels *kernels) {
    round inputs = {j, kernels->winograd_inputs};
    j->parts = ceil_div(j->count, PART_TILES);
    return convc_parallel(round_task, &inputs, j->parts * j->c->w.size[0] * j->vectors,
                          TRANSFORM_FLOPS * WINOGRAD_POINTS * (double)j->count * (double)j->depth, kernels->winograd_workspace);
}

static convc_status run_round(winograd_job *j, const convc_kernels *kernels) {
    int64_t outs = j->c->y.c / j->c->groups;
    double flops = 2.0 * WINOGRAD_POINTS * (double)j->count * (double)j->depth * (double)outs;
    round outputs = {j, kernels->winograd_outputs};
    TRY(transform_images(j, kernels));
    j->blocks = ceil_div(j->count, WINOGRAD_BLOCK);
    j->chunks = ceil_div(j->panels, kernels->winograd_chunk);
    /* No sum depends on how the panels are shared out. */
    if (j->blocks * j->chunks < 2 * convc_threads_for(flops)) j->chunks = j->panels;
    return convc_parallel(round_task, &outputs, j->blocks * j->chunks, flops, kernels->winograd_workspace);
}

convc_status convc_winograd_run(const conv *c, const convc_kernels *kernels, const void *u) {
    winograd_job j = job_of(c, kernels);
    int64_t item = convc_itemsize(c->dtype), tiles = tiles_of(&j);
    int64_t tile_bytes = WINOGRAD_POINTS * ceil_div(j.depth, kernels->winograd_kc) * kernels->winograd_lda * item;
    int64_t bytes = ROUND_BYTES * min_i64(convc_get_num_threads(), ROUND_THREADS);
    int64_t rounds = ceil_div(tiles, max_i64(WINOGRAD_BLOCK / 4, bytes / tile_bytes));
    convc_loan loan;
    j.v = convc_borrow(CONVC_SCRATCH, (size_t)(ceil_div(tiles, rounds) * tile_bytes), &loan);
    if (!j.v) return convc_fail(CONVC_NO_MEMORY, "no memory for transformed images");
    convc_status status = CONVC_OK;
    for (int64_t i = 0; i < c->groups * rounds && status == CONVC_OK; i++) {
        j.group = i / rounds;
        j.u = (const char *)u + j.group * group_size(&j, kernels) * item;
        j.first = split_point(tiles, rounds, i % rounds);
        j.count = split_point(tiles, rounds, i % rounds + 1) - j.first;
        status = run_round(&j, kernels);
    }
    convc_return(CONVC_SCRATCH, &loan);
    return status;
}

/* ---- the gradient of the weights ---- */

#define SUMS_BYTES (6 << 20) /* of the sums over tiles, at most */
#define TILES_BYTES (4 << 20) /* of the transformed images and gradients; whatever the threads, for rounds shape the sums */

static convc_status sum_round(winograd_job *j, const convc_kernels *kernels, int images_are_there) {
    round grads = {j, kernels->winograd_grads}, sums = {j, kernels->winograd_sums};
    double elements = (double)j->count * WINOGRAD_POINTS, outs = (double)(j->chunk * kernels->nr);
    if (!images_are_there) TRY(transform_images(j, kernels));
    j->parts = ceil_div(j->count, PART_TILES);
    TRY(convc_parallel(round_task, &grads, j->parts * j->chunk * kernels->nr / kernels->lanes, TRANSFORM_FLOPS * elements * outs,
                       kernels->winograd_workspace));
    return convc_parallel(round_task, &sums, WINOGRAD_POINTS * ceil_div(j->depth, kernels->winograd_kc),
                          2 * elements * outs * (double)j->depth, 0);
}

/* The chunk's weights of a group, all rounds. */
static convc_status sum_chunk(winograd_job *j, const convc_kernels *kernels, int64_t tiles, int64_t rounds) {
    round rows = {j, kernels->winograd_weight_rows};
    for (int64_t i = 0; i < rounds; i++) {
        j->first = split_point(tiles, rounds, i);
        j->count = split_point(tiles, rounds, i + 1) - j->first;
        TRY(sum_round(j, kernels, rounds == 1 && j->first_panel > 0));
    }
    double elements = (double)(j->depth * j->chunk * kernels->nr) * WINOGRAD_POINTS;
    return convc_parallel(round_task, &rows, j->depth, TRANSFORM_FLOPS * elements, 0);
}

convc_status convc_winograd_weight_gradient(const conv *c) {
    const convc_kernels *kernels = convc_kernels_for(c->dtype);
    winograd_job j = job_of(c, kernels);
    int64_t item = convc_itemsize(c->dtype), tiles = tiles_of(&j), panel = WINOGRAD_POINTS * kernels->nr * item;
    int64_t most = max_i64(1, min_i64(j.panels, SUMS_BYTES / (panel * j.depth)));
    int64_t image = WINOGRAD_POINTS * ceil_div(j.depth, kernels->winograd_kc) * kernels->winograd_lda * item;
    int64_t rounds = ceil_div(tiles, max_i64(WINOGRAD_BLOCK / 4, TILES_BYTES / (image + most * panel))),
            count = ceil_div(tiles, rounds);
    convc_loan loan;
    char *scratch = convc_borrow(CONVC_SCRATCH, (size_t)(count * (image + most * panel) + j.depth * most * panel), &loan);
    if (!scratch) return convc_fail(CONVC_NO_MEMORY, "no memory for transformed images and gradients");
    j.v = scratch;
    j.z = scratch + count * image;
    j.m = scratch + count * (image + most * panel);
    convc_status status = CONVC_OK;
    for (; j.group < c->groups; j.group++)
        for (j.first_panel = 0; j.first_panel < j.panels && status == CONVC_OK; j.first_panel += j.chunk) {
            j.chunk = min_i64(most, j.panels - j.first_panel);
            status = sum_chunk(&j, kernels, tiles, rounds);
        }
    convc_return(CONVC_SCRATCH, &loan);
    return status;
}
