/* Winograd's convolution: where it may run, what it costs, and its rounds of transforming and multiplying. */
#include "winograd.h"

#define ROUND_BYTES \
    (5 << 19) /* of transformed images for each thread: they should stay in the caches until they are multiplied */
#define ROUND_THREADS 4 /* that it grows with */
/* Of filters transformed in passing: a chunk of them at a time, which the caches still hold. More threads have more caches, and want more
 * tasks. */
#define FILTER_BYTES (6 << 20)
#define FILTER_THREADS 4
#define PADS ((int64_t)WINOGRAD_POINTS * WINOGRAD_PAD)
#define PART_TILES 30 /* tiles that one task transforms */
#define TRANSFORM_FLOPS 8.0 /* what an element transformed costs, in flops of multiplication */

int convc_winograd_fits(const conv *c) {
    for (int i = 1; i < 3; i++)
        if (c->w.size[i] != 3 || c->step[i] != 1 || c->dilation[i] > INT32_MAX) return 0;
    return 1;
}

int convc_winograd_fits_phases(const conv *c, const convc_kernels *kernels) {
    return c->w.size[1] <= 3 && c->w.size[2] <= 3 && c->block[2] <= kernels->winograd_chunk;
}

static winograd_job job_of(const conv *c, algorithm how, const convc_kernels *kernels) {
    int side = convc_winograd_side(how);
    winograd_job j = {.c = c, .side = side, .points = (side + 2) * (side + 2)};
    for (int i = 0; i < 2; i++) j.phases[i] = min_i64(c->dilation[i + 1], c->y.size[i + 1]);
    j.tile_rows = ceil_div(ceil_div(c->y.size[1], c->dilation[1]), side);
    j.tile_cols = ceil_div(ceil_div(c->y.size[2], c->dilation[2]), side);
    j.vectors = ceil_div(c->w.c, kernels->lanes);
    j.depth = (c->w.size[0] - 1) * j.vectors * kernels->lanes + c->w.c;
    j.panels = ceil_div(c->y.c / c->groups, kernels->nr) * block_size(c);
    j.together = c->block[2];
    j.row_step = c->w.size[0] * j.vectors * kernels->lanes;
    j.row_points = max_i64(1, kernels->winograd_kc / j.row_step);
    return j;
}

static int64_t tiles_of(const winograd_job *j) {
    return j->c->y.n * j->c->y.size[0] * j->phases[0] * j->phases[1] * j->tile_rows * j->tile_cols;
}

int64_t convc_winograd_tiles(const conv *c, algorithm how) {
    winograd_job j = job_of(c, how, convc_kernels_for(c->dtype));
    return tiles_of(&j);
}

/* Bytes of one panel of transformed filters, or -1. */
static int64_t panel_bytes(const winograd_job *j, const convc_kernels *kernels) {
    int64_t rows = convc_times(j->points * kernels->nr * convc_itemsize(j->c->dtype), j->depth);
    return rows < 0 ? rows : rows + PADS;
}

/* Bytes of one transformed tile, all channels of a group, or -1. */
static int64_t tile_bytes(const winograd_job *j, const convc_kernels *kernels) {
    int64_t row = kernels->winograd_lda * convc_itemsize(j->c->dtype);
    return convc_times(ceil_div(j->points, j->row_points) * row, ceil_div(j->depth, kernels->winograd_kc));
}

/* Scratch of a + b bytes and three arrays' pads, NULL if there is no such memory; a and b may be -1. */
static void *borrow(int64_t a, int64_t b, convc_loan *loan) {
    *loan = (convc_loan){0};
    if (a < 0 || b < 0 || a > INT64_MAX / 4 || b > INT64_MAX / 4) return NULL;
    return convc_borrow(CONVC_SCRATCH, (size_t)(a + b + 3 * PADS), loan);
}

/* The size of as few chunks as there can be of at most `most` panels, all nearly alike. If there are several, threads share each but
 * perhaps the last evenly. */
static int64_t even_chunk(int64_t panels, int64_t most, int64_t threads) {
    most = max_i64(1, most);
    if (panels <= most) return panels;
    if (most > threads) most -= most % threads;
    int64_t chunk = ceil_div(panels, ceil_div(panels, most));
    return most % threads == 0 ? ceil_div(chunk, threads) * threads : chunk;
}

/* ---- the steps, each shared out among the threads ---- */

typedef struct step {
    const winograd_job *job;
    void (*run)(const winograd_job *job, int64_t task, void *workspace);
} step;

static void step_task(const void *context, int64_t task, void *workspace) {
    const step *s = context;
    s->run(s->job, task, workspace);
}

static convc_status run_step(const winograd_job *j, void (*run)(const winograd_job *, int64_t, void *), int64_t tasks,
                             double flops, const convc_kernels *kernels) {
    const step s = {j, run};
    return convc_parallel(step_task, &s, tasks, flops, kernels->winograd_workspace);
}

/* To u, where plans keep them. */
static convc_status load_all_filters(const winograd_job *j, const convc_kernels *kernels) {
    int64_t tasks = j->chunk * j->c->w.size[0] * j->vectors;
    return run_step(j, kernels->winograd_load, tasks, (double)(tasks * kernels->nr * kernels->lanes * 9), kernels);
}

static convc_status transform_filters(const winograd_job *j, const convc_kernels *kernels) {
    double elements = (double)(j->chunk * kernels->nr) * (double)j->depth * j->points;
    return run_step(j, kernels->winograd_weights, j->chunk * j->c->w.size[0] * j->vectors, TRANSFORM_FLOPS * elements, kernels);
}

static convc_status transform_images(winograd_job *j, const convc_kernels *kernels) {
    double elements = (double)j->count * (double)j->depth * j->points;
    j->parts = ceil_div(j->count, PART_TILES * WINOGRAD_OUT / j->side);
    return run_step(j, kernels->winograd_inputs, j->parts * j->c->w.size[0] * j->vectors, TRANSFORM_FLOPS * elements, kernels);
}

static convc_status multiply(winograd_job *j, const convc_kernels *kernels) {
    double flops = 2.0 * j->points * (double)j->count * (double)j->depth * (double)(j->chunk * kernels->nr);
    int threads = convc_threads_for(flops);
    j->blocks = ceil_div(j->count, WINOGRAD_BLOCK * WINOGRAD_POINTS / j->points);
    j->shares = ceil_div(j->chunk / j->together, kernels->winograd_chunk / j->together);
    /* No sum depends on how tiles and panels are shared out. */
    if (j->blocks * j->shares < 2 * threads) j->shares = j->chunk / j->together;
    if (j->blocks * j->shares < threads) j->blocks = min_i64(ceil_div(threads, j->shares), ceil_div(j->count, 2 * kernels->mr));
    return run_step(j, kernels->winograd_outputs, j->blocks * j->shares, flops, kernels);
}

/* ---- what a plan keeps: transformed filters, or, where they are too many for the caches, the filters as their transform reads them:
 * reading several times as much from memory would take longer than transforming them again ---- */

/* Bytes of all filters in either form, or -1. */
typedef struct kept_filters {
    int is_transformed;
    int64_t bytes;
} kept_filters;

static kept_filters what_to_keep(const conv *c, algorithm how, const convc_kernels *kernels) {
    winograd_job j = job_of(c, how, kernels);
    int64_t panels = convc_times(c->groups, j.panels), transformed = convc_times(panels, panel_bytes(&j, kernels));
    int64_t loaded = convc_times(panels, winograd_loaded(&j, kernels->nr, kernels->lanes));
    loaded = convc_times(loaded, convc_itemsize(c->dtype));
    if (transformed >= 0 && (transformed <= CACHED_WEIGHTS || transformed <= loaded)) return (kept_filters){1, transformed};
    return (kept_filters){0, loaded};
}

int64_t convc_winograd_size(const conv *c, algorithm how, const convc_kernels *kernels) {
    int64_t bytes = what_to_keep(c, how, kernels).bytes;
    return bytes < 0 ? bytes : bytes / convc_itemsize(c->dtype);
}

convc_status convc_winograd_pack(const conv *c, algorithm how, const convc_kernels *kernels, void *packed) {
    winograd_job j = job_of(c, how, kernels);
    int is_transformed = what_to_keep(c, how, kernels).is_transformed;
    j.chunk = j.panels;
    for (; j.group < c->groups; j.group++) {
        j.u = (char *)packed + (is_transformed ? j.group * j.panels * panel_bytes(&j, kernels) : 0);
        TRY(is_transformed ? transform_filters(&j, kernels) : load_all_filters(&j, kernels));
    }
    return CONVC_OK;
}

/* ---- running ---- */

/* All rounds of the chunk. */
static convc_status run_chunk(winograd_job *j, const convc_kernels *kernels, int64_t tiles, int64_t rounds) {
    for (int64_t i = 0; i < rounds; i++) {
        j->first = split_point(tiles, rounds, i);
        j->count = split_point(tiles, rounds, i + 1) - j->first;
        if (rounds > 1 || j->first_panel == 0) TRY(transform_images(j, kernels)); /* else they are still there */
        TRY(multiply(j, kernels));
    }
    return CONVC_OK;
}

/* u are transformed filters, loaded those to be transformed in passing, or NULL. */
static convc_status run(const conv *c, const conv *forward, algorithm how, const convc_kernels *kernels, const void *u,
                        const void *loaded) {
    winograd_job j = job_of(c, how, kernels);
    j.forward = forward;
    j.loaded = loaded;
    int64_t tiles = tiles_of(&j), tile = tile_bytes(&j, kernels), panel = panel_bytes(&j, kernels);
    if (tile < 0 || panel < 0) return convc_fail(CONVC_NO_MEMORY, "no memory for transformed images");
    int64_t threads = convc_get_num_threads(), filters = FILTER_BYTES * max_i64(1, threads / FILTER_THREADS);
    int64_t bytes = ROUND_BYTES * min_i64(threads, ROUND_THREADS);
    if (!u && tile <= (bytes + filters) / 2 / tiles) { /* all images: else they are transformed anew for each chunk of filters */
        filters = min_i64(filters, bytes + filters - tiles * tile);
        bytes = max_i64(bytes, tiles * tile);
    }
    int64_t most = u ? j.panels : even_chunk(j.panels / j.together, filters / panel / j.together, threads) * j.together;
    int64_t rounds = ceil_div(tiles, max_i64(WINOGRAD_BLOCK / 4, bytes / tile)),
            images = convc_times(ceil_div(tiles, rounds), tile);
    convc_loan loan;
    j.v = borrow(images, u ? 0 : convc_times(most, panel), &loan);
    if (!j.v) return convc_fail(CONVC_NO_MEMORY, "no memory for transformed images");
    images += PADS;
    convc_status status = CONVC_OK;
    for (; j.group < c->groups; j.group++)
        for (j.first_panel = 0; j.first_panel < j.panels && status == CONVC_OK; j.first_panel += j.chunk) {
            j.chunk = min_i64(most, j.panels - j.first_panel);
            j.u = u ? (char *)u + j.group * j.panels * panel : (char *)j.v + images;
            if (!u) status = transform_filters(&j, kernels);
            if (status == CONVC_OK) status = run_chunk(&j, kernels, tiles, rounds);
        }
    convc_return(CONVC_SCRATCH, &loan);
    return status;
}

convc_status convc_winograd_run(const conv *c, algorithm how, const convc_kernels *kernels, const void *packed) {
    if (!packed || what_to_keep(c, how, kernels).is_transformed) return run(c, NULL, how, kernels, packed, NULL);
    return run(c, NULL, how, kernels, NULL, packed);
}

convc_status convc_winograd_run_phases(const conv *forward, const conv *c, algorithm how, const convc_kernels *kernels) {
    return run(c, forward, how, kernels, NULL, NULL);
}

/* ---- the gradient of the weights ---- */

#define SUMS_BYTES (6 << 20) /* of the sums over tiles, at most */
#define TILES_BYTES (4 << 20) /* of the transformed images and gradients; whatever the threads, for rounds shape the sums */

static convc_status sum_round(winograd_job *j, const convc_kernels *kernels) {
    double elements = (double)j->count * (double)(j->chunk * kernels->nr) * j->points;
    int64_t vectors = j->chunk * kernels->nr / kernels->lanes;
    j->parts = ceil_div(j->count, PART_TILES * WINOGRAD_OUT / j->side);
    TRY(run_step(j, kernels->winograd_grads, j->parts * vectors, TRANSFORM_FLOPS * elements, kernels));
    return run_step(j, kernels->winograd_sums, j->points * ceil_div(j->depth, kernels->winograd_kc),
                    2 * elements * (double)j->depth, kernels);
}

/* The chunk's weights of a group, all rounds. */
static convc_status sum_chunk(winograd_job *j, const convc_kernels *kernels, int64_t tiles, int64_t rounds) {
    for (int64_t i = 0; i < rounds; i++) {
        j->first = split_point(tiles, rounds, i);
        j->count = split_point(tiles, rounds, i + 1) - j->first;
        if (rounds > 1 || j->first_panel == 0) TRY(transform_images(j, kernels)); /* else they are still there */
        TRY(sum_round(j, kernels));
    }
    double elements = (double)(j->depth * j->chunk * kernels->nr) * j->points;
    return run_step(j, kernels->winograd_weight_rows, j->c->w.size[0] * j->vectors, TRANSFORM_FLOPS * elements, kernels);
}

convc_status convc_winograd_weight_gradient(const conv *c, algorithm how) {
    const convc_kernels *kernels = convc_kernels_for(c->dtype);
    winograd_job j = job_of(c, how, kernels);
    int64_t tiles = tiles_of(&j), panel = j.points * kernels->nr * convc_itemsize(c->dtype), image = tile_bytes(&j, kernels);
    int64_t sums = convc_times(j.depth, panel);
    if (image < 0 || sums < 0) return convc_fail(CONVC_NO_MEMORY, "no memory for transformed images and gradients");
    int64_t most = even_chunk(j.panels, SUMS_BYTES / sums, 1), tile = convc_times(most, panel) + image;
    int64_t rounds = ceil_div(tiles, max_i64(WINOGRAD_BLOCK / 4, TILES_BYTES / tile)), count = ceil_div(tiles, rounds);
    convc_loan loan;
    char *scratch = borrow(convc_times(count, tile), convc_times(most, sums), &loan);
    if (!scratch) return convc_fail(CONVC_NO_MEMORY, "no memory for transformed images and gradients");
    j.v = scratch;
    j.z = scratch + count * image + PADS;
    j.m = (char *)j.z + count * most * panel + PADS;
    convc_status status = CONVC_OK;
    for (; j.group < c->groups; j.group++)
        for (j.first_panel = 0; j.first_panel < j.panels && status == CONVC_OK; j.first_panel += j.chunk) {
            j.chunk = min_i64(most, j.panels - j.first_panel);
            status = sum_chunk(&j, kernels, tiles, rounds);
        }
    convc_return(CONVC_SCRATCH, &loan);
    return status;
}
