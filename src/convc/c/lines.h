/* Tensors of one shape as lines of equal steps: for operators that treat every element alike, in any order. */
#ifndef CONVC_LINES_H
#define CONVC_LINES_H

#include "impl.h"

#define LINES_TENSORS 4

/* Up to four tensors element by element: `count` lines of `length`, which are as long as the strides allow. */
typedef struct lines {
    int tensors;
    char *data[LINES_TENSORS];
    int64_t item[LINES_TENSORS], step[LINES_TENSORS]; /* bytes; elements, along a line */
    int64_t length, count, pieces; /* a line is cut in pieces */
    int64_t tasks;                 /* about equal shares of all pieces */
    int axes;                      /* over the lines, the first one slowest */
    int64_t size[CONVC_MAX_NDIM], stride[LINES_TENSORS][CONVC_MAX_NDIM]; /* bytes */
} lines;

/* The memory order of the first tensor decides. */
lines convc_lines(int count, const convc_tensor *const tensors[]);
/* The first `count` of a, b and c. */
static inline lines convc_lines_of(int count, const convc_tensor *a, const convc_tensor *b, const convc_tensor *c) {
    return convc_lines(count, (const convc_tensor *const[]){a, b, c});
}

typedef struct line_piece {
    void *data[LINES_TENSORS];
    int64_t count;
} line_piece;

static inline int64_t lines_pieces(const lines *l) { return l->count * l->pieces; }
line_piece lines_piece(const lines *l, int64_t i);

/* The same memory, of place 0 on the axis that is left out. */
convc_tensor convc_without_axis(const convc_tensor *t, int left_out);
/* The address of element `row` of the first axes, the last of these fastest. */
char *convc_row(const convc_tensor *t, int axes, int64_t row);
/* vector[i] = value */
void convc_set_number(const convc_tensor *vector, int64_t i, double value);

#endif
