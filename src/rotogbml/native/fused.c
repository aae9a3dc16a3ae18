/* The passes of encoders/fused.py over whole maps, each once through memory. Maps are rows [b, h, w, c]; a window's
 * winner is its place 0 ... 3 in scan order, one byte. Sums are kept for every image apart, in float64, so that they
 * do not depend on how images are dealt to threads.
 *
 * This file includes itself, once for each type.
 */
#ifndef REAL

#include <stddef.h>
#include <stdint.h>

#define REAL float
#define NAME(f) f##_f32
#include "fused.c"
#undef REAL
#undef NAME

#define REAL double
#define NAME(f) f##_f64
#include "fused.c"

#else

/* Channels that are taken at a time: their row sums stay in registers or the first cache. */
#ifndef LANES
#define LANES 64
#endif

/* Sums over each image of d and of d (x - centre): out [b, 2, c]. */
void NAME(sums)(const REAL *restrict d, const REAL *restrict x, const REAL *restrict centre, ptrdiff_t b, ptrdiff_t h,
                ptrdiff_t w, ptrdiff_t c, double *restrict out)
{
    for (ptrdiff_t image = 0; image < b; image++) {
        double *plain = out + image * 2 * c, *along = plain + c;
        for (ptrdiff_t k = 0; k < 2 * c; k++)
            plain[k] = 0;
        for (ptrdiff_t i = 0; i < h; i++) {
            const ptrdiff_t row = (image * h + i) * w * c;
            for (ptrdiff_t first = 0; first < c; first += LANES) {
                const ptrdiff_t lanes = c - first < LANES ? c - first : LANES;
                REAL s[LANES] = {0}, t[LANES] = {0};
                for (ptrdiff_t j = 0; j < w; j++) {
                    const REAL *dj = d + row + j * c + first, *xj = x + row + j * c + first;
                    if (lanes == LANES)
                        for (ptrdiff_t k = 0; k < LANES; k++) {
                            s[k] += dj[k];
                            t[k] += dj[k] * (xj[k] - centre[first + k]);
                        }
                    else
                        for (ptrdiff_t k = 0; k < lanes; k++) {
                            s[k] += dj[k];
                            t[k] += dj[k] * (xj[k] - centre[first + k]);
                        }
                }
                for (ptrdiff_t k = 0; k < lanes; k++) {
                    plain[first + k] += s[k];
                    along[first + k] += t[k];
                }
            }
        }
    }
}

/* Near each channel's mean: that of some of n rows [c], evenly spread. Var = E d^2 - (E d)^2 of d = y - centre loses a
 * factor 1 + (mean - centre)^2 / Var. One row may be sqrt(n) deviations off the mean; of SPREAD rows the mean is off by
 * sqrt(n / SPREAD) at the very most. SPREAD is prime, lest all of them stand in one column of an image. */
#ifndef SPREAD
#define SPREAD 61
#endif
void NAME(centre)(const REAL *restrict y, ptrdiff_t n, ptrdiff_t c, REAL *restrict out)
{
    const ptrdiff_t rows = n < SPREAD ? n : SPREAD;
    for (ptrdiff_t first = 0; first < c; first += LANES) {
        const ptrdiff_t lanes = c - first < LANES ? c - first : LANES;
        REAL s[LANES] = {0};
        for (ptrdiff_t i = 0; i < rows; i++)
            for (ptrdiff_t k = 0; k < lanes; k++)
                s[k] += y[i * n / rows * c + first + k];
        for (ptrdiff_t k = 0; k < lanes; k++)
            out[first + k] = s[k] / (REAL)rows;
    }
}

static void NAME(row_moments)(const REAL *restrict y, const REAL *restrict centre, ptrdiff_t w, ptrdiff_t c,
                              double *restrict plain, double *restrict square)
{
    for (ptrdiff_t first = 0; first < c; first += LANES) {
        const ptrdiff_t lanes = c - first < LANES ? c - first : LANES;
        REAL s[LANES] = {0}, t[LANES] = {0};
        for (ptrdiff_t j = 0; j < w; j++) {
            const REAL *yj = y + j * c + first;
            if (lanes == LANES)
                for (ptrdiff_t k = 0; k < LANES; k++) {
                    const REAL d = yj[k] - centre[first + k];
                    s[k] += d;
                    t[k] += d * d;
                }
            else
                for (ptrdiff_t k = 0; k < lanes; k++) {
                    const REAL d = yj[k] - centre[first + k];
                    s[k] += d;
                    t[k] += d * d;
                }
        }
        for (ptrdiff_t k = 0; k < lanes; k++) {
            plain[first + k] += s[k];
            square[first + k] += t[k];
        }
    }
}

/* The same for each of b images of n rows: out [b, c]. */
void NAME(centres)(const REAL *restrict y, ptrdiff_t b, ptrdiff_t n, ptrdiff_t c, REAL *restrict out)
{
    for (ptrdiff_t image = 0; image < b; image++)
        NAME(centre)(y + image * n * c, n, c, out + image * c);
}

/* Winners of every 2 x 2 window of y * sign: best [b, h/2, w/2, c] and where, ties going to the first. Of the first
 * `given` images also the moments about `centre`, out [given, 2, c]: sums of y - centre and of its square. The next
 * image's centre is `apart` numbers on: 0 where all have one. */
void NAME(pool)(const REAL *restrict y, const REAL *restrict sign, const REAL *restrict centre, ptrdiff_t apart,
                ptrdiff_t given, ptrdiff_t b, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c, REAL *restrict best,
                uint8_t *restrict where, double *restrict out)
{
    const ptrdiff_t H = h / 2, W = w / 2;
    for (ptrdiff_t image = 0; image < b; image++, centre += apart) {
        double *plain = out + image * 2 * c, *square = plain + c;
        if (image < given)
            for (ptrdiff_t k = 0; k < 2 * c; k++)
                plain[k] = 0;
        for (ptrdiff_t i = 0; i < h; i++) {
            const REAL *row = y + (image * h + i) * w * c;
            if (image < given)
                NAME(row_moments)(row, centre, w, c, plain, square);
            if (i % 2 == 0 || i / 2 >= H)
                continue;
            for (ptrdiff_t j = 0; j < W; j++) {
                const REAL *p11 = row + (2 * j + 1) * c, *p10 = p11 - c, *p01 = p11 - w * c, *p00 = p01 - c;
                const ptrdiff_t to = ((image * H + i / 2) * W + j) * c;
                for (ptrdiff_t k = 0; k < c; k++) {
                    REAL top = p00[k] * sign[k], it = p00[k];
                    int place = 0;
                    const REAL b1 = p01[k] * sign[k], b2 = p10[k] * sign[k], b3 = p11[k] * sign[k];
                    place = b1 > top ? 1 : place, it = b1 > top ? p01[k] : it, top = b1 > top ? b1 : top;
                    place = b2 > top ? 2 : place, it = b2 > top ? p10[k] : it, top = b2 > top ? b2 : top;
                    place = b3 > top ? 3 : place, it = b3 > top ? p11[k] : it;
                    best[to + k] = it;
                    where[to + k] = (uint8_t)place;
                }
            }
        }
    }
}

/* What stands at the winners: [b, h, w, c] -> [b, h/2, w/2, c]. */
void NAME(winners)(const REAL *restrict y, const uint8_t *restrict where, ptrdiff_t b, ptrdiff_t h, ptrdiff_t w,
                   ptrdiff_t c, REAL *restrict out)
{
    const ptrdiff_t H = h / 2, W = w / 2;
    for (ptrdiff_t image = 0; image < b; image++)
        for (ptrdiff_t i = 0; i < H; i++)
            for (ptrdiff_t j = 0; j < W; j++) {
                const REAL *p00 = y + ((image * h + 2 * i) * w + 2 * j) * c;
                const REAL *p01 = p00 + c, *p10 = p00 + w * c, *p11 = p10 + c;
                const ptrdiff_t at = ((image * H + i) * W + j) * c;
                for (ptrdiff_t k = 0; k < c; k++) {
                    const REAL v0 = p00[k], v1 = p01[k], v2 = p10[k], v3 = p11[k];
                    const int place = where[at + k];
                    out[at + k] = place == 0 ? v0 : place == 1 ? v1 : place == 2 ? v2 : v3;
                }
            }
}

/* One pixel: what is dense, then what is put at winners; `dense` and `u` are known where it is inlined. */
static inline __attribute__((always_inline)) void NAME(pixel)(const REAL *restrict y, const REAL *restrict u,
                                                             const REAL *restrict slope, const REAL *restrict level,
                                                             const REAL *restrict along,
                                                             const REAL *restrict at_winners,
                                                             const uint8_t *restrict where, int place, ptrdiff_t c,
                                                             int dense, REAL *restrict out)
{
    for (ptrdiff_t k = 0; k < c; k++) {
        REAL value = 0;
        if (dense)
            value = slope[k] * y[k] + level[k];
        if (dense && u)
            value += along[k] * u[k];
        if (where)
            value += where[k] == place ? at_winners[k] : 0;
        out[k] = value;
    }
}

static inline __attribute__((always_inline)) void NAME(image)(const REAL *y, const REAL *u, const REAL *slope,
                                                             const REAL *level, const REAL *along,
                                                             const REAL *at_winners, const uint8_t *where, ptrdiff_t h,
                                                             ptrdiff_t w, ptrdiff_t c, int dense, REAL *out)
{
    const ptrdiff_t H = h / 2, W = w / 2;
    for (ptrdiff_t i = 0; i < h; i++) {
        const ptrdiff_t windows = i / 2 < H ? W : 0;
        for (ptrdiff_t j = 0; j < 2 * windows; j++) {
            const ptrdiff_t here = (i * w + j) * c, at = (i / 2 * W + j / 2) * c;
            NAME(pixel)(y + here, u ? u + here : 0, slope, level, along, at_winners + at, where + at,
                        (int)(2 * (i % 2) + j % 2), c, dense, out + here);
        }
        for (ptrdiff_t j = 2 * windows; j < w; j++) {
            const ptrdiff_t here = (i * w + j) * c;
            NAME(pixel)(y + here, u ? u + here : 0, slope, level, along, 0, 0, 0, c, dense, out + here);
        }
    }
}

/* out = slope y + level (+ along u, where u is given) in the first `given` images, 0 in the others; more at winners.
 * The next image's slope, level and along are `apart` numbers on: 0 where all have the same. */
void NAME(dense_and_winners)(const REAL *y, const REAL *u, const REAL *slope, const REAL *level, const REAL *along,
                             const REAL *at_winners, const uint8_t *where, ptrdiff_t apart, ptrdiff_t given,
                             ptrdiff_t b, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c, REAL *out)
{
    const ptrdiff_t whole = h * w * c, quarter = (h / 2) * (w / 2) * c;
    for (ptrdiff_t i = 0; i < b; i++, y += whole, out += whole, at_winners += quarter, where += quarter) {
        if (i >= given)
            NAME(image)(y, 0, slope, level, along, at_winners, where, h, w, c, 0, out);
        else if (u)
            NAME(image)(y, u + i * whole, slope, level, along, at_winners, where, h, w, c, 1, out);
        else
            NAME(image)(y, 0, slope, level, along, at_winners, where, h, w, c, 1, out);
        slope += apart, level += apart, along = u ? along + apart : along;
    }
}

#endif
