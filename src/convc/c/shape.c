/* The only place where sizes are checked and computed. Sizes arrive as raw int64 and may be anything; every product and sum here is
 * checked, so that what passes can be used without fear everywhere else. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "impl.h"

#define MAX_BYTES ((int64_t)1 << 62)

#if defined(_MSC_VER)
#define THREAD_LOCAL __declspec(thread)
#else
#define THREAD_LOCAL _Thread_local
#endif

static THREAD_LOCAL char last_error[512];

const char *convc_last_error(void) { return last_error; }

convc_status convc_fail(convc_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    return status;
}

#define INVALID(...) convc_fail(CONVC_INVALID_VALUE, __VA_ARGS__)
typedef long long ll;

/* a * b and a + b of numbers that are not negative; -1 stands for "too large" and stays so. */
int64_t convc_times(int64_t a, int64_t b) {
    if (a < 0 || b < 0) return -1;
    return b != 0 && a > MAX_BYTES / b ? -1 : a * b;
}

static int64_t plus(int64_t a, int64_t b) { return a < 0 || b < 0 || a > MAX_BYTES - b ? -1 : a + b; }

static const char *describe(const int64_t *shape, int ndim, char *text, size_t size) {
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < ndim && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%lld", i ? ", " : "", (ll)shape[i]);
    return text;
}

#define TEXT 128

int64_t convc_itemsize(convc_dtype dtype) { return dtype == CONVC_F32 ? 4 : 8; }

int64_t convc_size(const convc_tensor *t) {
    int64_t size = 1;
    for (int i = 0; i < t->ndim; i++) size *= t->shape[i];
    return size;
}

/* ---- tensors ---- */

convc_status convc_check_any(const convc_tensor *t, const char *name, int min_ndim, int max_ndim) {
    if (!t) return INVALID("%s is missing", name);
    if (t->ndim < min_ndim || t->ndim > max_ndim) {
        if (min_ndim == max_ndim) return INVALID("%s must have %d dimensions, got %d", name, min_ndim, t->ndim);
        return INVALID("%s must have %d to %d dimensions, got %d", name, min_ndim, max_ndim, t->ndim);
    }
    int64_t item = convc_itemsize(t->dtype), bytes = item;
    for (int i = 0; i < t->ndim; i++) {
        if (t->shape[i] < 0) return INVALID("%s has a negative extent, %lld in dimension %d", name, (ll)t->shape[i], i);
        bytes = convc_times(bytes, t->shape[i] ? t->shape[i] : 1);
        if (bytes < 0) return INVALID("%s is too large", name);
    }
    if (convc_size(t) == 0) return CONVC_OK;
    if (!t->data) return INVALID("%s has no data", name);
    for (int i = 0; i < t->ndim; i++)
        if (t->shape[i] > 1 && t->strides[i] % item)
            return INVALID("%s must have strides that are multiples of %lld bytes, got %lld in dimension %d", name, (ll)item,
                           (ll)t->strides[i], i);
    if ((uintptr_t)t->data % (uintptr_t)item) return INVALID("%s is not aligned to its elements", name);
    return CONVC_OK;
}

convc_status convc_check_tensor(const convc_tensor *t, const char *name, int min_ndim, int max_ndim) {
    TRY(convc_check_any(t, name, min_ndim, max_ndim));
    if (t->dtype != CONVC_F32 && t->dtype != CONVC_F64)
        return convc_fail(CONVC_INVALID_TYPE, "%s must be float32 or float64", name);
    for (int i = 1; i < t->ndim; i++)
        if (t->shape[i] == 0) {
            char text[TEXT];
            return INVALID("%s must not be empty except along its first axis, got shape (%s)", name,
                           describe(t->shape, t->ndim, text, TEXT));
        }
    return CONVC_OK;
}

/* Sorted by stride, each axis must step over all that lies within the smaller ones. */
static int self_overlaps(const convc_tensor *t) {
    int order[CONVC_MAX_NDIM], axes = 0;
    for (int i = 0; i < t->ndim; i++)
        if (t->shape[i] > 1) order[axes++] = i;
    for (int i = 1; i < axes; i++)
        for (int j = i; j > 0; j--) {
            int64_t a = t->strides[order[j - 1]], b = t->strides[order[j]];
            if ((a < 0 ? -a : a) <= (b < 0 ? -b : b)) break;
            int swap = order[j];
            order[j] = order[j - 1];
            order[j - 1] = swap;
        }
    int64_t within = convc_itemsize(t->dtype);
    for (int i = 0; i < axes; i++) {
        int64_t stride = t->strides[order[i]];
        if (stride < 0) stride = -stride;
        if (stride < within) return 1;
        within += stride * (t->shape[order[i]] - 1);
    }
    return 0;
}

convc_status convc_check_output(const convc_tensor *t, const char *name, int min_ndim, int max_ndim) {
    TRY(convc_check_tensor(t, name, min_ndim, max_ndim));
    if (convc_size(t) && self_overlaps(t)) return INVALID("%s must not overlap itself (it is a broadcast or sliding view)", name);
    return CONVC_OK;
}

static void extent_in_memory(const convc_tensor *t, uintptr_t *first, uintptr_t *end) {
    *first = *end = (uintptr_t)t->data;
    for (int i = 0; i < t->ndim; i++) {
        int64_t reach = (t->shape[i] - 1) * t->strides[i];
        if (reach < 0) *first -= (uintptr_t)-reach;
        else *end += (uintptr_t)reach;
    }
    *end += (uintptr_t)convc_itemsize(t->dtype);
}

convc_status convc_check_disjoint(const convc_tensor *out, const char *out_name, const convc_tensor *in, const char *in_name) {
    if (!in || convc_size(in) == 0 || convc_size(out) == 0) return CONVC_OK;
    uintptr_t a0, a1, b0, b1;
    extent_in_memory(out, &a0, &a1);
    extent_in_memory(in, &b0, &b1);
    return a0 < b1 && b0 < a1 ? INVALID("%s must not overlap %s in memory", out_name, in_name) : CONVC_OK;
}

static const char *dtype_name(convc_dtype dtype) {
    return dtype == CONVC_F32 ? "float32" : dtype == CONVC_F64 ? "float64" : "int64";
}

convc_status convc_check_dtype(const convc_tensor *t, const char *name, const convc_tensor *like, const char *like_name) {
    if (t->dtype == like->dtype) return CONVC_OK;
    return convc_fail(CONVC_INVALID_TYPE, "%s must be %s as %s is, got %s; or make %s %s", name, dtype_name(like->dtype),
                      like_name, dtype_name(t->dtype), like_name, dtype_name(t->dtype));
}

convc_status convc_check_shape(const convc_tensor *t, const char *name, const int64_t *shape, int ndim) {
    char want[TEXT], got[TEXT];
    if (t->ndim == ndim && memcmp(t->shape, shape, (size_t)ndim * sizeof *shape) == 0) return CONVC_OK;
    return INVALID("%s must have shape (%s), got (%s)", name, describe(shape, ndim, want, TEXT),
                   describe(t->shape, t->ndim, got, TEXT));
}

convc_status convc_check_like(const convc_tensor *t, const char *name, const convc_tensor *like, const char *like_name) {
    TRY(convc_check_tensor(t, name, 0, CONVC_MAX_NDIM));
    TRY(convc_check_shape(t, name, like->shape, like->ndim));
    return convc_check_dtype(t, name, like, like_name);
}

/* ---- windows ---- */

convc_status convc_same_padding(int64_t kernel, int64_t dilation, int64_t *before, int64_t *after) {
    if (kernel < 1) return INVALID("kernel_size must be at least 1, got %lld", (ll)kernel);
    if (dilation < 1) return INVALID("dilation must be at least 1, got %lld", (ll)dilation);
    int64_t total = convc_times(dilation, kernel - 1);
    if (total < 0) return INVALID("dilation %lld with kernel size %lld is too large", (ll)dilation, (ll)kernel);
    *before = total / 2;
    *after = total - total / 2;
    return CONVC_OK;
}

/* What a window does along one dimension. A pool's must not have more than half of itself in the padding on either side. */
typedef struct sweep {
    int64_t extent, kernel, stride, dilation, before, after;
    convc_fit fit;
    int is_pool;
} sweep;

/* Writes those of lower and lower + stride that lie between least and most: "3 or 5", "5" or nothing. */
static void nearby(int64_t lower, int64_t stride, int64_t least, int64_t most, char *text, size_t size) {
    int64_t upper = lower > INT64_MAX - stride ? INT64_MAX : lower + stride;
    int has_lower = least <= lower && lower <= most, has_upper = least <= upper && upper <= most;
    text[0] = 0;
    if (has_lower && has_upper) snprintf(text, size, "%lld or %lld", (ll)lower, (ll)upper);
    else if (has_lower || has_upper) snprintf(text, size, "%lld", has_lower ? (ll)lower : (ll)upper);
}

/* Names the extents and the total paddings nearby at which the stride fits. */
static convc_status does_not_fit(const sweep *s, int dim, int64_t reach, int64_t rest) {
    char extents[64], paddings[64];
    int64_t padding = s->before + s->after, most = s->is_pool ? 2 * (reach / 2) : MAX_BYTES;
    nearby(s->extent - rest, s->stride, 1, MAX_BYTES, extents, sizeof extents);
    nearby(padding - rest, s->stride, 0, most, paddings, sizeof paddings);
    int has_both = *extents && *paddings;
    return INVALID("stride %lld does not fit spatial dimension %d: (%lld + %lld - %lld) / %lld + 1 is not whole%s%s%s%s%s%s",
                   (ll)s->stride, dim, (ll)s->extent, (ll)padding, (ll)reach, (ll)s->stride, *extents ? "; an input of " : "",
                   extents, has_both ? ", or a total padding of " : "", has_both ? paddings : "", has_both ? "," : "",
                   *extents ? " would fit" : "");
}

static convc_status sweep_length(const sweep *s, int dim, int64_t *length) {
    if (s->extent < 1) return INVALID("input must have at least 1 element in spatial dimension %d, got %lld", dim, (ll)s->extent);
    if (s->kernel < 1) return INVALID("kernel_size must be at least 1, got %lld in spatial dimension %d", (ll)s->kernel, dim);
    if (s->stride < 1) return INVALID("stride must be at least 1, got %lld in spatial dimension %d", (ll)s->stride, dim);
    if (s->dilation < 1) return INVALID("dilation must be at least 1, got %lld in spatial dimension %d", (ll)s->dilation, dim);
    if (s->before < 0 || s->after < 0)
        return INVALID("padding must not be negative, got (%lld, %lld) in spatial dimension %d", (ll)s->before, (ll)s->after,
                       dim);
    int64_t reach = plus(convc_times(s->dilation, s->kernel - 1), 1);
    int64_t padded = plus(s->extent, plus(s->before, s->after));
    if (reach < 0)
        return INVALID("kernel_size %lld with dilation %lld is too large in spatial dimension %d", (ll)s->kernel, (ll)s->dilation,
                       dim);
    if (padded < 0) return INVALID("padding (%lld, %lld) is too large in spatial dimension %d", (ll)s->before, (ll)s->after, dim);
    /* As in PyTorch, a partial window may be the only one; there, too, it must not lack a whole stride. */
    if (padded < reach && !(s->fit == CONVC_CEIL && reach - padded < s->stride))
        return INVALID("kernel_size %lld (with dilation, %lld) is larger than the padded input, %lld in spatial dimension %d%s",
                       (ll)s->kernel, (ll)reach, (ll)padded, dim, s->fit == CONVC_CEIL ? ", by a stride or more" : "");
    if (s->is_pool && (s->before > reach / 2 || s->after > reach / 2))
        return INVALID("padding must be at most half of the window's %lld, got (%lld, %lld) in spatial dimension %d", (ll)reach,
                       (ll)s->before, (ll)s->after, dim);
    int64_t way = max_i64(0, padded - reach), rest = way % s->stride;
    if (s->fit == CONVC_EXACT && rest) return does_not_fit(s, dim, reach, rest);
    *length = way / s->stride + 1;
    /* A partial last window counts if it starts inside the input or its leading padding, as in PyTorch. */
    if (s->fit == CONVC_CEIL && rest &&
        *length < plus(s->extent, s->before) / s->stride + ((s->extent + s->before) % s->stride != 0))
        ++*length;
    return CONVC_OK;
}

static convc_status check_ndim(int ndim) {
    return ndim >= 3 && ndim <= CONVC_MAX_NDIM ? CONVC_OK : INVALID("an image must have 3 to 5 dimensions, got %d", ndim);
}

static convc_status check_total(const int64_t *shape, int ndim) {
    int64_t bytes = 8;
    for (int i = 0; i < ndim; i++) bytes = convc_times(bytes, shape[i]);
    char text[TEXT];
    return bytes >= 0 ? CONVC_OK : INVALID("the output would be too large: (%s)", describe(shape, ndim, text, TEXT));
}

/* Is the padding within what the image can give? */
static convc_status check_pad_mode(const convc_conv_params *p, int64_t extent, int i) {
    static const char *const names[] = {"zeros", "reflect", "replicate", "circular"};
    if (p->pad_mode < CONVC_PAD_ZEROS || p->pad_mode > CONVC_PAD_CIRCULAR)
        return INVALID("pad_mode must be one of convc_pad_mode, got %d", (int)p->pad_mode);
    int64_t most = p->pad_mode == CONVC_PAD_REFLECT ? extent - 1 : p->pad_mode == CONVC_PAD_CIRCULAR ? extent : INT64_MAX;
    if (p->pad_before[i] <= most && p->pad_after[i] <= most) return CONVC_OK;
    return INVALID("padding must be at most %lld for pad_mode '%s' of %lld element%s in spatial dimension %d, got (%lld, %lld)",
                   (ll)most, names[p->pad_mode], (ll)extent, extent == 1 ? "" : "s", i, (ll)p->pad_before[i],
                   (ll)p->pad_after[i]);
}

convc_status convc_conv_output_shape(int ndim, const int64_t *x, const int64_t *w, const convc_conv_params *p, int64_t *y) {
    TRY(check_ndim(ndim));
    if (x[0] < 0) return INVALID("the batch must not be negative, got %lld", (ll)x[0]);
    if (p->groups < 1) return INVALID("groups must be at least 1, got %lld", (ll)p->groups);
    if (p->fit == CONVC_CEIL) return INVALID("fit must be floor or exact for a convolution, got ceil");
    if (x[1] < 1) return INVALID("x must have at least 1 channel, got %lld", (ll)x[1]);
    if (w[0] < 1 || w[1] < 1)
        return INVALID("weight must have at least 1 channel each way, got %lld out and %lld in", (ll)w[0], (ll)w[1]);
    if (x[1] % p->groups) return INVALID("groups %lld must divide the %lld channels of x", (ll)p->groups, (ll)x[1]);
    if (w[0] % p->groups) return INVALID("groups %lld must divide the %lld output channels of weight", (ll)p->groups, (ll)w[0]);
    if (w[1] != x[1] / p->groups) {
        int elsewhere = 0; /* do x's channels stand where another layout has them? */
        for (int i = 2; i < ndim; i++) elsewhere |= x[i] / p->groups == w[1] && x[i] % p->groups == 0;
        return INVALID("weight must have %lld input channels a group, as x has %lld channels in %lld group%s; got %lld%s",
                       (ll)(x[1] / p->groups), (ll)x[1], (ll)p->groups, p->groups == 1 ? "" : "s", (ll)w[1],
                       elsewhere ? "; is it the right layout of x?" : "");
    }
    y[0] = x[0];
    y[1] = w[0];
    for (int i = 0; i < ndim - 2; i++) {
        sweep s = {x[i + 2], w[i + 2], p->stride[i], p->dilation[i], p->pad_before[i], p->pad_after[i], p->fit, 0};
        TRY(sweep_length(&s, i, &y[i + 2]));
        TRY(check_pad_mode(p, x[i + 2], i));
    }
    return check_total(y, ndim);
}

/* How far the windows of `extent` inputs reach in the output, and what padding cuts off that. */
static convc_status transposed_reach(const sweep *s, int64_t extra, int dim, int64_t *reach, int64_t *cut) {
    if (s->extent < 1) return INVALID("x must have at least 1 element in spatial dimension %d, got %lld", dim, (ll)s->extent);
    if (s->kernel < 1) return INVALID("kernel_size must be at least 1, got %lld in spatial dimension %d", (ll)s->kernel, dim);
    if (s->stride < 1) return INVALID("stride must be at least 1, got %lld in spatial dimension %d", (ll)s->stride, dim);
    if (s->dilation < 1) return INVALID("dilation must be at least 1, got %lld in spatial dimension %d", (ll)s->dilation, dim);
    if (s->before < 0 || s->after < 0)
        return INVALID("padding must not be negative, got (%lld, %lld) in spatial dimension %d", (ll)s->before, (ll)s->after,
                       dim);
    int64_t most = max_i64(s->stride, s->dilation) - 1;
    if (extra < 0 || extra > most)
        return INVALID(
            "output_padding must be from 0 to %lld, smaller than the stride or the dilation, got %lld in spatial dimension %d",
            (ll)most, (ll)extra, dim);
    *reach = plus(plus(convc_times(s->extent - 1, s->stride), convc_times(s->dilation, s->kernel - 1)), plus(extra, 1));
    *cut = plus(s->before, s->after);
    if (*reach < 0)
        return INVALID("the output would be too large in spatial dimension %d: stride %lld, kernel_size %lld, dilation %lld", dim,
                       (ll)s->stride, (ll)s->kernel, (ll)s->dilation);
    return CONVC_OK;
}

static convc_status transposed_length(const sweep *s, int64_t extra, int dim, int64_t *length) {
    int64_t reach = 0, cut = 0;
    TRY(transposed_reach(s, extra, dim, &reach, &cut));
    if (cut < 0 || cut >= reach)
        return INVALID("padding (%lld, %lld) leaves nothing of the output's %lld in spatial dimension %d", (ll)s->before,
                       (ll)s->after, (ll)reach, dim);
    *length = reach - cut;
    return CONVC_OK;
}

convc_status convc_conv_transpose_output_shape(int ndim, const int64_t *x, const int64_t *w, const convc_conv_params *p,
                                               const int64_t *output_padding, int64_t *y) {
    TRY(check_ndim(ndim));
    if (x[0] < 0) return INVALID("the batch must not be negative, got %lld", (ll)x[0]);
    if (p->groups < 1) return INVALID("groups must be at least 1, got %lld", (ll)p->groups);
    if (p->pad_mode != CONVC_PAD_ZEROS) return INVALID("pad_mode must be zeros for a transposed convolution");
    if (x[1] < 1) return INVALID("x must have at least 1 channel, got %lld", (ll)x[1]);
    if (w[0] != x[1])
        return INVALID("weight must have %lld input channels on its first axis, as x has, got %lld", (ll)x[1], (ll)w[0]);
    if (w[1] < 1) return INVALID("weight must have at least 1 output channel, got %lld", (ll)w[1]);
    if (x[1] % p->groups) return INVALID("groups %lld must divide the %lld channels of x", (ll)p->groups, (ll)x[1]);
    y[0] = x[0];
    y[1] = convc_times(w[1], p->groups);
    if (y[1] < 0) return INVALID("groups %lld times %lld output channels are too many", (ll)p->groups, (ll)w[1]);
    for (int i = 0; i < ndim - 2; i++) {
        sweep s = {x[i + 2], w[i + 2], p->stride[i], p->dilation[i], p->pad_before[i], p->pad_after[i], CONVC_FLOOR, 0};
        TRY(transposed_length(&s, output_padding[i], i, &y[i + 2]));
    }
    return check_total(y, ndim);
}

convc_status convc_local_output_shape(int ndim, const int64_t *x, const int64_t *w, const convc_conv_params *p, int64_t *y) {
    if (ndim != 3 && ndim != 4) return INVALID("an image of a locally connected layer must have 3 or 4 dimensions, got %d", ndim);
    if (p->groups != 1) return INVALID("groups must be 1 for locally connected layers, got %lld", (ll)p->groups);
    TRY(convc_conv_output_shape(ndim, x, w + 1, p, y));
    int64_t positions = ndim == 3 ? y[2] : convc_times(y[2], y[3]);
    if (w[0] == positions) return CONVC_OK;
    char text[TEXT];
    return INVALID("weight must have %lld positions on its first axis, as the output has (%s), got %lld", (ll)positions,
                   describe(y + 2, ndim - 2, text, TEXT), (ll)w[0]);
}

/* Pools keep the batch and the channels. */
static convc_status keep_channels(int ndim, const int64_t *x, int64_t *y) {
    TRY(check_ndim(ndim));
    if (x[0] < 0) return INVALID("the batch must not be negative, got %lld", (ll)x[0]);
    if (x[1] < 1) return INVALID("x must have at least 1 channel, got %lld", (ll)x[1]);
    y[0] = x[0];
    y[1] = x[1];
    return CONVC_OK;
}

convc_status convc_pool_output_shape(int ndim, const int64_t *x, const convc_pool_params *p, int64_t *y) {
    TRY(keep_channels(ndim, x, y));
    for (int i = 0; i < ndim - 2; i++) {
        sweep s = {x[i + 2], p->kernel[i], p->stride[i], p->dilation[i], p->pad_before[i], p->pad_after[i], p->fit, 1};
        TRY(sweep_length(&s, i, &y[i + 2]));
    }
    return check_total(y, ndim);
}

convc_status convc_adaptive_output_shape(int ndim, const int64_t *x, const int64_t *size, int64_t *y) {
    TRY(keep_channels(ndim, x, y));
    for (int i = 0; i < ndim - 2; i++) {
        if (x[i + 2] < 1) return INVALID("input must have at least 1 element in spatial dimension %d, got %lld", i, (ll)x[i + 2]);
        if (size[i] < 1) return INVALID("output_size must be at least 1, got %lld in spatial dimension %d", (ll)size[i], i);
        if (convc_times(x[i + 2], size[i]) < 0) /* windows are found by dividing such products */
            return INVALID("output_size %lld is too large for an input of %lld in spatial dimension %d", (ll)size[i],
                           (ll)x[i + 2], i);
        y[i + 2] = size[i];
    }
    return check_total(y, ndim);
}

convc_status convc_unpool_output_shape(int ndim, const int64_t *x, const convc_pool_params *p, const int64_t *size, int64_t *y) {
    TRY(keep_channels(ndim, x, y));
    for (int i = 0; i < ndim - 2; i++) {
        sweep s = {x[i + 2], p->kernel[i], p->stride[i], 1, p->pad_before[i], p->pad_after[i], CONVC_FLOOR, 0};
        int64_t reach = 0, cut = 0, step = min_i64(s.stride, MAX_BYTES);
        TRY(transposed_reach(&s, 0, i, &reach, &cut));
        int64_t least = max_i64(1, reach - cut - step + 1), most = reach - cut + step - 1;
        if (!size || cut < 0 || most < 1) {
            TRY(transposed_length(&s, 0, i, &y[i + 2]));
            continue;
        }
        if (size[i] < least || size[i] > most)
            return INVALID(
                "output_size must be from %lld to %lld in spatial dimension %d, less than a stride from %lld; got %lld",
                (ll)least, (ll)most, i, (ll)(reach - cut), (ll)size[i]);
        y[i + 2] = size[i];
    }
    return check_total(y, ndim);
}

convc_status convc_im2col_shape(int ndim, const int64_t *x, const int64_t *kernel, const convc_conv_params *p, int64_t *cols) {
    int64_t w[CONVC_MAX_NDIM] = {1, 1}, y[CONVC_MAX_NDIM];
    TRY(check_ndim(ndim));
    w[1] = x[1];
    for (int i = 0; i < ndim - 2; i++) w[i + 2] = kernel[i];
    convc_conv_params plain = *p;
    plain.groups = 1;
    plain.pad_mode = CONVC_PAD_ZEROS;
    TRY(convc_conv_output_shape(ndim, x, w, &plain, y));
    cols[0] = x[0];
    cols[1] = x[1];
    cols[2] = 1;
    for (int i = 0; i < ndim - 2; i++) {
        cols[1] = convc_times(cols[1], kernel[i]);
        cols[2] = convc_times(cols[2], y[i + 2]);
    }
    if (cols[1] < 0 || cols[2] < 0) return INVALID("the columns would be too large");
    return check_total(cols, 3);
}

/* ---- resizing ---- */

static convc_status resized_length(const convc_resize_params *p, int64_t extent, int i, int64_t *length) {
    if (extent < 1) return INVALID("input must have at least 1 element in spatial dimension %d, got %lld", i, (ll)extent);
    *length = p->size[i];
    if (!p->by_scale) {
        if (*length < 1) return INVALID("size must be at least 1, got %lld in spatial dimension %d", (ll)*length, i);
        return CONVC_OK;
    }
    double scaled = p->scale[i] * (double)extent;
    if (!(p->scale[i] > 0 && scaled < (double)MAX_BYTES))
        return INVALID(
            "scale_factor must be positive and the output not too large, got %g for %lld elements in spatial dimension %d",
            p->scale[i], (ll)extent, i);
    if (scaled < 1)
        return INVALID("scale_factor %g leaves nothing of %lld element%s in spatial dimension %d", p->scale[i], (ll)extent,
                       extent == 1 ? "" : "s", i);
    *length = (int64_t)scaled;
    return CONVC_OK;
}

convc_status convc_resize_output_shape(int ndim, const int64_t *x, const convc_resize_params *p, int64_t *y) {
    TRY(check_ndim(ndim));
    if ((int)p->mode < CONVC_NEAREST || (int)p->mode > CONVC_LINEAR)
        return INVALID("mode must be one of convc_resize_mode, got %d", (int)p->mode);
    if (p->align_corners && p->mode != CONVC_LINEAR) return INVALID("align_corners goes with linear interpolation only");
    if (x[0] < 0) return INVALID("the batch must not be negative, got %lld", (ll)x[0]);
    if (x[1] < 1) return INVALID("x must have at least 1 channel, got %lld", (ll)x[1]);
    y[0] = x[0];
    y[1] = x[1];
    for (int i = 0; i < ndim - 2; i++) TRY(resized_length(p, x[i + 2], i, &y[i + 2]));
    return check_total(y, ndim);
}
