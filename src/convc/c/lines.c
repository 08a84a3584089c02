/* How tensors of one shape become lines: axes sorted by the first one's strides, reversed where it runs backwards, joined where all tensors
 * let them. */
#include "lines.h"

#define PIECE 16384 /* elements, at most */

static void swap_axes(lines *l, int i, int j) {
    int64_t size = l->size[i];
    l->size[i] = l->size[j];
    l->size[j] = size;
    for (int t = 0; t < l->tensors; t++) {
        int64_t stride = l->stride[t][i];
        l->stride[t][i] = l->stride[t][j];
        l->stride[t][j] = stride;
    }
}

/* Takes in the axes of more than one element, in an order in which the first tensor's strides fall. */
static void sort_axes(lines *l, const convc_tensor *const tensors[]) {
    for (int i = 0; i < tensors[0]->ndim; i++) {
        if (tensors[0]->shape[i] == 1) continue;
        int at = l->axes++, backwards = tensors[0]->strides[i] < 0;
        l->size[at] = tensors[0]->shape[i];
        for (int t = 0; t < l->tensors; t++) {
            int64_t stride = tensors[t]->strides[i];
            if (backwards) l->data[t] += stride * (l->size[at] - 1);
            l->stride[t][at] = backwards ? -stride : stride;
        }
        for (; at > 0 && l->stride[0][at - 1] < l->stride[0][at]; at--) swap_axes(l, at - 1, at);
    }
}

static int can_join(const lines *l, int outer, int inner) {
    for (int t = 0; t < l->tensors; t++)
        if (l->stride[t][outer] != l->stride[t][inner] * l->size[inner]) return 0;
    return 1;
}

static void join_axes(lines *l) {
    int kept = 0;
    for (int i = 1; i < l->axes; i++) {
        int64_t size = l->size[kept];
        if (can_join(l, kept, i)) l->size[i] *= size;
        else kept++;
        swap_axes(l, kept, i);
    }
    if (l->axes) l->axes = kept + 1;
}

lines convc_lines(int count, const convc_tensor *const tensors[]) {
    lines l = {.tensors = count, .length = 1, .count = 1};
    for (int t = 0; t < count; t++) {
        l.data[t] = tensors[t]->data;
        l.item[t] = convc_itemsize(tensors[t]->dtype);
        l.step[t] = 1;
    }
    sort_axes(&l, tensors);
    join_axes(&l);
    if (l.axes) {
        l.axes--;
        l.length = l.size[l.axes];
        for (int t = 0; t < count; t++) l.step[t] = l.stride[t][l.axes] / l.item[t];
    }
    for (int i = 0; i < l.axes; i++) l.count *= l.size[i];
    l.pieces = ceil_div(l.length, PIECE);
    l.tasks = min_i64(l.count * l.pieces, ceil_div(l.count * l.length, PIECE));
    return l;
}

line_piece lines_piece(const lines *l, int64_t i) {
    line_piece piece;
    int64_t line = i / l->pieces, part = i % l->pieces;
    int64_t first = split_point(l->length, l->pieces, part);
    piece.count = split_point(l->length, l->pieces, part + 1) - first;
    for (int t = 0; t < l->tensors; t++) piece.data[t] = l->data[t] + first * l->step[t] * l->item[t];
    for (int k = l->axes - 1; k >= 0; k--) {
        for (int t = 0; t < l->tensors; t++) ((char **)piece.data)[t] += line % l->size[k] * l->stride[t][k];
        line /= l->size[k];
    }
    return piece;
}

convc_tensor convc_without_axis(const convc_tensor *t, int left_out) {
    convc_tensor rest = *t;
    rest.ndim--;
    for (int i = left_out; i < rest.ndim; i++) {
        rest.shape[i] = t->shape[i + 1];
        rest.strides[i] = t->strides[i + 1];
    }
    return rest;
}

char *convc_row(const convc_tensor *t, int axes, int64_t row) {
    char *at = t->data;
    for (int i = axes - 1; i >= 0; i--) {
        at += row % t->shape[i] * t->strides[i];
        row /= t->shape[i];
    }
    return at;
}

void convc_set_number(const convc_tensor *vector, int64_t i, double value) {
    char *at = (char *)vector->data + i * vector->strides[0];
    if (vector->dtype == CONVC_F32) *(float *)at = (float)value;
    else *(double *)at = value;
}
