/* The one form that all convolutions are brought to, forward and backward: three spatial dimensions, strides in elements; its matrices;
 * and the choice of an algorithm. */
#include <math.h>

#include "conv.h"

volume convc_volume_of(const convc_tensor *t) {
    volume v = {.data = t->data, .n = t->shape[0], .c = t->shape[1], .size = {1, 1, 1}};
    v.stride_n = element_stride(t, 0);
    v.stride_c = element_stride(t, 1);
    for (int i = t->ndim - 1, to = 2; i >= 2; i--, to--) {
        v.size[to] = t->shape[i];
        v.stride[to] = element_stride(t, i);
    }
    return v;
}

conv convc_conv_of(const convc_tensor *x, const convc_tensor *w, const convc_tensor *y, const convc_conv_params *p) {
    conv c = {.dtype = x->dtype, .groups = p->groups, .step = {1, 1, 1}, .dilation = {1, 1, 1}, .block = {1, 1, 1}};
    c.wanted = p->algorithm;
    c.x = convc_volume_of(x);
    c.w = convc_volume_of(w);
    c.y = convc_volume_of(y);
    c.w_group = c.w.n / c.groups * c.w.stride_n;
    for (int i = x->ndim - 3, to = 2; i >= 0; i--, to--) {
        /* A single output takes no step, whatever it says: bounded, no address computed ahead of it overflows. */
        c.step[to] = c.y.size[to] > 1 ? p->stride[i] : min_i64(p->stride[i], c.x.size[to]);
        c.dilation[to] = c.w.size[to] > 1 ? p->dilation[i] : 1; /* nor is a single tap apart from others */
        c.pad[to] = p->pad_before[i];
    }
    return c;
}

/* ---- the matrices of a convolution ---- */

axis convc_pixels_of(const volume *v, const int64_t size[3], const int64_t step[3]) {
    return (axis){{v->n, size[0], size[1], size[2]},
                  {v->stride_n, step[0] * v->stride[0], step[1] * v->stride[1], step[2] * v->stride[2]}};
}

axis convc_taps_of(const volume *v, const int64_t size[3], int64_t channels, const int64_t dilation[3], int channel_digit) {
    axis taps;
    taps.size[channel_digit] = channels;
    taps.stride[channel_digit] = v->stride_c;
    for (int i = 0, to = channel_digit == 0; i < 3; i++, to++) {
        taps.size[to] = size[i];
        taps.stride[to] = dilation[i] * v->stride[i];
    }
    return taps;
}

const int64_t convc_ones[3] = {1, 1, 1};

matrix convc_columns_of(const conv *c, window *w, int taps_on_rows, int channel_digit) {
    int64_t origin = 0;
    int leaves = 0;
    for (int i = 0; i < 3; i++) {
        w->step[i] = c->step[i];
        w->dilation[i] = c->dilation[i];
        w->pad[i] = c->pad[i];
        w->extent[i] = c->x.size[i];
        origin = (int64_t)((uint64_t)origin - (uint64_t)c->pad[i] * (uint64_t)c->x.stride[i]);
        int64_t last = (c->y.size[i] - 1) * c->step[i] + (c->w.size[i] - 1) * c->dilation[i] - c->pad[i];
        leaves |= c->pad[i] > 0 || last >= c->x.size[i];
    }
    leaves |= c->step[2] > 1 && c->w.size[2] > 1; /* or where packing sorts the pixels by their place within the step */
    axis pixels = convc_pixels_of(&c->x, c->y.size, c->step);
    axis taps = convc_taps_of(&c->x, c->w.size, c->x.c / c->groups, c->dilation, channel_digit);
    matrix m = {.data = element(&c->x, origin, c->dtype), .window = leaves ? w : NULL};
    m.taps_on_rows = taps_on_rows;
    m.channel_digit = channel_digit;
    if (!leaves) {
        pixels = axis_collapse(pixels);
        taps = axis_collapse(taps);
    }
    m.rows = taps_on_rows ? taps : pixels;
    m.cols = taps_on_rows ? pixels : taps;
    return m;
}

/* ---- algorithms ---- */

#define DIRECT_COLS 256 /* at most */
#define DIRECT_INPUTS 32768 /* elements of a tile's input: part of L2 */
#define DIRECT_MOST 65536 /* if a single row of outputs needs more than this, GEMM reads it better */

/* Lines are whole vectors long. Sizes are compared before they are multiplied, for a dilation may be any number. */
int convc_direct_tile(const conv *c, const convc_kernels *kernels, direct_tile *t) {
    int64_t lanes = kernels->lanes, planes = c->w.c * c->w.size[0];
    int64_t down = (c->w.size[1] - 1) * c->dilation[1] + 1, along = (c->w.size[2] - 1) * c->dilation[2] + 1;
    t->cols = min_i64(c->y.size[2], DIRECT_COLS);
    t->rows = 1;
    t->in_rows = down;
    t->phases = min_i64(c->step[2], along);
    if (planes > DIRECT_MOST || down > DIRECT_MOST || along > DIRECT_MOST) return 0;
    t->line = ceil_div(ceil_div(t->cols, lanes) * lanes + (along - 1) / c->step[2], lanes) * lanes;
    int64_t row = t->phases * t->line;
    if (planes * row > DIRECT_MOST || planes * row * down > DIRECT_MOST) return 0;
    int64_t room = DIRECT_INPUTS / (planes * row) - down;
    if (room > 0) t->rows = min_i64(c->y.size[1], room / c->step[1] + 1);
    t->in_rows = (t->rows - 1) * c->step[1] + down;
    return 1;
}

int convc_channels_are_contiguous(const conv *c) { return c->x.stride_c == 1 && c->y.stride_c == 1; }

/* With fewer channels than this there is little to save, and who filters images by small integers expects exact sums. */
#define WINOGRAD_CHANNELS 16

static double whole_vectors(double n, double lanes) { return lanes * ceil(n / lanes); }

static double outputs_of(const conv *c) { return (double)(c->y.n * c->y.size[0] * c->y.size[1]) * (double)c->y.size[2]; }

/* Costs in multiply-adds of a matrix product; from measurements. A weight read costs as much as 2 of them, or 12 from memory; one packed
 * or transformed now costs more. */
static double gemm_cost(const conv *c, purpose what) {
    double groups = (double)c->groups, outs = (double)c->y.c / groups, depth = (double)(c->w.c * c->w.size[0]);
    double taps = (double)(c->w.size[1] * c->w.size[2]), bytes = groups * depth * outs * (double)convc_itemsize(c->dtype);
    double weight = what == ONCE ? 60 : taps * bytes > CACHED_WEIGHTS ? 12 : 2;
    return taps * groups * depth * (outs + 8) * (outputs_of(c) + weight); /* an element packed costs 8 */
}

static double winograd_cost(const conv *c, algorithm how, const convc_kernels *kernels, purpose what) {
    double groups = (double)c->groups, outs = (double)c->y.c / groups, depth = (double)(c->w.c * c->w.size[0]);
    double side = convc_winograd_side(how) + 2, points = side * side;
    double padded_outs = whole_vectors(outs, kernels->nr) * (double)block_size(c),
           padded_depth = whole_vectors((double)c->w.c, kernels->lanes) * (double)c->w.size[0];
    double weights = groups * depth * padded_outs,
           bytes = groups * depth * outs * (double)(block_size(c) * convc_itemsize(c->dtype));
    double weight = points * bytes > CACHED_WEIGHTS || what == ONCE ? 16 : 2;
    if (what == OF_WEIGHTS) weight += 4; /* sums are transformed back, and stored in their order */
    /* An element of the transformed image costs as much as 20 multiply-adds, one transformed back 12. */
    double transforms = groups * (20 * padded_depth + 12 * whole_vectors(outs, kernels->lanes) * (double)block_size(c));
    return points * ((double)convc_winograd_tiles(c, how) * (weights + transforms) + weight * weights);
}

/* The better one of Winograd's algorithms: small tiles where there are few of them, for filters are transformed to fewer points. */
static algorithm better_winograd(const conv *c, const convc_kernels *kernels, purpose what) {
    return winograd_cost(c, WINOGRAD_2, kernels, what) < winograd_cost(c, WINOGRAD_4, kernels, what) ? WINOGRAD_2 : WINOGRAD_4;
}

static int winograd_pays(const conv *c, algorithm how, const convc_kernels *kernels, purpose what) {
    if (c->y.c / c->groups < WINOGRAD_CHANNELS || c->w.c < WINOGRAD_CHANNELS) return 0;
    return winograd_cost(c, how, kernels, what) < gemm_cost(c, what);
}

/* Does a product over a channels-last copy of the image pay, where pixels would not fill the register block? */
static int turning_pays(const conv *c, const convc_kernels *kernels) {
    double pixels = outputs_of(c), k = (double)(c->y.c / c->groups * block_size(c));
    double saved = whole_vectors(pixels, kernels->nr) * k - pixels * whole_vectors(k, kernels->lanes);
    double taps = (double)(c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2]) * (double)c->groups;
    double moved = (double)(c->x.n * c->x.c * c->x.size[0] * c->x.size[1]) * (double)c->x.size[2] + pixels * (double)c->y.c;
    return taps * saved > TURN_COST * moved;
}

/* Are there direct sums for up to `most` output channels a group? Rows that are not contiguous are copied: turned where channels are,
 * element by element elsewhere. Above 64 channels the sum is long enough for GEMM's blocking to win back more. */
static int direct_fits(const conv *c, const convc_kernels *kernels, purpose what, int64_t most) {
    direct_tile tile;
    if (c->y.c / c->groups > most || c->w.c > 64 || c->step[2] > 2) return 0;
    if (what == OF_WEIGHTS) return c->x.stride[2] == 1 && c->y.stride[2] == 1;
    return (c->x.stride[2] == 1 || c->x.stride_c == 1 || c->groups > 1) && convc_direct_tile(c, kernels, &tile);
}

/* Is it better to copy the image and read pixels where they lie than to pack its columns? That is so where every element copied meets
 * many taps, or where channels are so few that packing moves them one by one. Outputs of 16 channels or less leave half of the register
 * block idle. A row of pixels is cut in blocks for the registers: too few pixels in each leave the multipliers waiting for earlier sums.
 * Channels-first outputs are turned on their way to memory, which takes long sums to pay for; up to 8 lanes turn in fewer steps, and
 * shorter sums do where packing has to sort few channels' pixels by the step, or serves short rows of few outputs. */
static int outs_pay(const conv *c, const convc_kernels *kernels) {
    direct_tile tile;
    int64_t k = c->y.c / c->groups, taps = c->w.size[1] * c->w.size[2], across = c->y.size[2];
    if (2 * across < min_i64(9, 2 * kernels->mr) * ceil_div(across, kernels->mr)) return 0;
    int reused = (double)taps >= (c->w.c <= 4 ? 2 : 4) * (double)c->step[1] * (double)c->step[2];
    if (k < 16 || taps == 1 || !reused || !convc_direct_tile(c, kernels, &tile)) return 0;
    if (c->y.stride_c == 1) return k > 16 || c->w.c < 16;
    int64_t depth = c->w.c * c->w.size[0] * taps;
    int packing_is_slow =
        kernels->lanes <= 8 && ((c->step[2] == 2 && c->w.c <= 4) || (k <= 32 && across <= 64 && c->step[2] == 1));
    return c->y.stride[2] == 1 && depth >= (packing_is_slow ? 25 : 100);
}

/* The same for the gradient of the weights, where every column would be packed for k multiplications only. Sums of all taps at once must
 * fit L2, and there must be pixels enough to pay for adding up the parts of them that tasks compute. */
static int sums_pay(const conv *c, const convc_kernels *kernels) {
    const int64_t cache = 320 << 10, pixels = 512;
    direct_tile tile;
    int64_t k = c->y.c / c->groups, taps = c->w.size[0] * c->w.size[1] * c->w.size[2];
    if (k < kernels->lanes || taps == 1 || c->w.c > 64 || outputs_of(c) < (double)pixels) return 0;
    return convc_direct_tile(c, kernels, &tile) && taps * c->w.c * k * convc_itemsize(c->dtype) <= cache;
}

/* Whichever is contiguous in the output runs along the vectors, if there is enough of it to fill them. */
static algorithm gemm_orientation(const conv *c, const convc_kernels *kernels, purpose what) {
    int channels_last = c->y.stride_c == 1 && c->y.c > 1;
    if (c->y.c / c->groups * block_size(c) < kernels->lanes) return GEMM_PIXELS;
    if (channels_last || outputs_of(c) < (double)kernels->lanes) return GEMM_CHANNELS;
    return what != OF_WEIGHTS && turning_pays(c, kernels) ? GEMM_CHANNELS : GEMM_PIXELS;
}

int convc_is_depthwise_along_channels(const conv *c) {
    return c->y.c == c->groups && c->w.c == 1 && c->groups > 1 && convc_channels_are_contiguous(c);
}

algorithm convc_choose(const conv *c, const convc_kernels *kernels, purpose what) {
    int64_t lanes = kernels->lanes, across = c->y.size[2];
    int channels_last = c->y.stride_c == 1 && c->y.c > 1, may_be_direct = c->wanted == CONVC_AUTO || c->wanted == CONVC_DIRECT;

    if (block_size(c) > 1) return gemm_orientation(c, kernels, what);
    /* A register block of GEMM has 14 rows on AVX-512, for which every vector of pixels is packed: four channels leave most idle. */
    if (may_be_direct && convc_is_depthwise_along_channels(c)) return DIRECT_CHANNELS;
    if (may_be_direct && direct_fits(c, kernels, what, 4)) return DIRECT_ROWS;
    if ((c->wanted == CONVC_WINOGRAD || c->wanted == CONVC_AUTO) && convc_winograd_fits(c)) {
        /* Who asks for it gets the same bits with a plan and without, if the batch is the plan's. */
        int asked = c->wanted == CONVC_WINOGRAD && what == ONCE;
        algorithm winograd = better_winograd(c, kernels, asked ? PREPARED : what);
        if (c->wanted == CONVC_WINOGRAD || winograd_pays(c, winograd, kernels, what)) return winograd;
    }
    if (may_be_direct && channels_last && what != OF_WEIGHTS && outs_pay(c, kernels)) return DIRECT_OUTS;
    /* Up to 16 channels direct sums are faster where taps share what they read and rows of pixels fill the vectors. */
    int64_t taps = c->w.size[1] * c->w.size[2], idle = lanes * ceil_div(across, lanes) - across;
    if (may_be_direct && taps > 1 && 4 * idle <= across && what != OF_WEIGHTS && direct_fits(c, kernels, what, 16))
        return DIRECT_ROWS;
    /* So they are up to 32 for images of few channels, whose columns GEMM packs for few multiplications: with 16 lanes, hardly any of
     * them idle, and taps enough to pay for the copy of the image. */
    int first = c->w.c <= 4 && lanes >= 16 && 15 * idle <= across && (c->step[2] == 2 || taps * c->w.c >= 25);
    if (may_be_direct && first && what != OF_WEIGHTS && c->x.stride[2] == 1 && c->y.stride[2] == 1 &&
        direct_fits(c, kernels, what, 32))
        return DIRECT_ROWS;

    if (may_be_direct && what != OF_WEIGHTS && outs_pay(c, kernels)) return DIRECT_OUTS;

    if (may_be_direct && what == OF_WEIGHTS && sums_pay(c, kernels)) return DIRECT_OUTS;
    return gemm_orientation(c, kernels, what);
}

algorithm convc_choose_phases(const conv *forward, const conv *c, const convc_kernels *kernels) {
    const int64_t most_weights = 1 << 20;
    conv summed = *c; /* as many products as all phases have together */
    summed.w.size[1] = forward->w.size[1];
    summed.w.size[2] = forward->w.size[2];
    int64_t weights = convc_times(c->y.c * c->w.c * c->w.size[0], summed.w.size[1] * summed.w.size[2]);
    int may_be_direct = c->wanted == CONVC_AUTO || c->wanted == CONVC_DIRECT;
    /* Phases that all read the same pixel are one product, whose outputs lie side by side if the channels come first. */
    int apart = c->w.size[1] * c->w.size[2] > 1 || c->y.stride_c == 1;
    if (may_be_direct && apart && weights <= most_weights && direct_fits(c, kernels, ONCE, 4)) return DIRECT_ROWS;
    if (c->wanted != CONVC_AUTO || !convc_winograd_fits_phases(c, kernels)) return GEMM_PIXELS;
    if (c->y.c / c->groups < WINOGRAD_CHANNELS || c->w.c < WINOGRAD_CHANNELS) return GEMM_PIXELS;
    algorithm how = better_winograd(c, kernels, ONCE);
    return winograd_cost(c, how, kernels, ONCE) < gemm_cost(&summed, ONCE) ? how : GEMM_PIXELS;
}

/* Phase by phase, every second element of grad_x would be stored alone. Where channels are contiguous that costs nothing. */
int convc_is_strided_depthwise(const conv *f) {
    int plain = f->dilation[0] == 1 && f->dilation[1] == 1 && f->dilation[2] == 1 && f->x.stride[2] == 1 && f->y.stride[2] == 1;
    int flat = f->w.size[0] == 1 && f->step[0] == 1 && f->pad[0] == 0 && f->x.size[0] == f->y.size[0];
    int64_t wide = f->w.size[2];
    if (f->bias || f->activation != CONVC_IDENTITY) return 0;
    return plain && flat && f->w.c == 1 && f->step[2] == 2 && (wide == 3 || wide == 5 || wide == 7) && f->wanted != CONVC_GEMM &&
           f->wanted != CONVC_WINOGRAD;
}

convc_status convc_check_algorithm(const conv *c) {
    if (c->wanted < CONVC_AUTO || c->wanted > CONVC_WINOGRAD)
        return convc_fail(CONVC_INVALID_VALUE, "algorithm must be one of convc_algorithm, got %d", (int)c->wanted);
    if (c->wanted != CONVC_WINOGRAD || convc_winograd_fits(c)) return CONVC_OK;
    return convc_fail(
        CONVC_INVALID_VALUE,
        "algorithm 'winograd' needs a 3 x 3 kernel and stride 1 along the last two axes, got kernel %lld x %lld, stride "
        "%lld x %lld",
        (long long)c->w.size[1], (long long)c->w.size[2], (long long)c->step[1], (long long)c->step[2]);
}
