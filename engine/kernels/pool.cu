// Maximum and average over windows, padding excluded.
//
// A block works on some planes. Where they fit, it keeps them in shared memory with their padding,
// so that every position of a window may be read. Windows of 3 × 3 at a stride of 1 have code of
// their own: a thread computes several outputs of one column, and what it found across a row serves
// all windows that the row belongs to.
#include "common.cuh"

// Elements of padded planes in shared memory, forward and backward; FORWARD_TILE and BACKWARD_TILE
// of problems/pool.rs.
constexpr int FORWARD_TILE = 4800;
constexpr int BACKWARD_TILE = 2400;

// Outputs of one column that a thread computes at once, where windows overlap.
constexpr int ROWS = 4;

struct PoolSizes {
    Size batch, channels, height, width, out_height, out_width, kernel, stride, padding;
};

// Windows over one plane. Positions with a name in x and y count from the corner of the padded
// plane.
struct Windows {
    int height, width, out_height, out_width, kernel, stride, padding;

    __device__ int plane() const { return height * width; }
    __device__ int out_plane() const { return out_height * out_width; }
    __device__ bool inside(int y, int x) const { return y >= padding && y < height + padding && x >= padding && x < width + padding; }

    // Elements of the plane in a window.
    __device__ int size_at(int row, int column) const { return extent(row, height) * extent(column, width); }
    __device__ int extent(int out, int length) const {
        int from = out * stride - padding, to = from + kernel;
        return (to < length ? to : length) - (from > 0 ? from : 0);
    }

    // The first and the last output along one axis whose windows hold a position.
    __device__ int first_output(int position) const { return position < kernel ? 0 : (position - kernel) / stride + 1; }
    __device__ int last_output(int position, int outputs) const { return position / stride < outputs ? position / stride : outputs - 1; }

    __device__ bool overlap_by_rows() const { return kernel == 3 && stride == 1; }
};

__device__ inline Windows windows_of(const PoolSizes &sizes) {
    return {(int)sizes.height, (int)sizes.width,  (int)sizes.out_height, (int)sizes.out_width,
            (int)sizes.kernel, (int)sizes.stride, (int)sizes.padding};
}

// The windows of a stride of 1 over the gradients of the outputs, through which the gradient of the
// input is known.
__device__ inline Windows turned(const Windows &w) {
    return {w.out_height, w.out_width, w.height, w.width, w.kernel, 1, w.kernel - 1 - w.padding};
}

// The planes that a block works on: as many as fit into its tile, or one where none does.
struct Planes {
    int first, count, channels;

    __device__ int n(int plane) const { return (first + plane) / channels; }
    __device__ int c(int plane) const { return (first + plane) % channels; }
};

__device__ inline Planes planes_of(const PoolSizes &sizes, Size tiled, int block) {
    int each = tiled ? (int)tiled : 1, all = (int)(sizes.batch * sizes.channels), first = block * each;
    return {first, all - first < each ? all - first : each, (int)sizes.channels};
}

__device__ inline float lowest() { return __uint_as_float(0xff800000u); }

struct Maximum {
    // The padding, and a window before any of its elements was seen.
    static __device__ float nothing() { return lowest(); }
    // What is not a number stays.
    static __device__ float join(float a, float b) { return b > a || b != b ? b : a; }
};

struct Sum {
    static __device__ float nothing() { return 0.0f; }
    static __device__ float join(float a, float b) { return a + b; }
};

// A padded plane in shared memory.
template <class Element> struct Tile {
    Element *data;
    int height, width;

    __device__ Element &at(int y, int x) const { return data[y * width + x]; }
    __device__ int size() const { return height * width; }
    __device__ Tile plane(int i) const { return {data + i * size(), height, width}; }
};

template <class Element> __device__ Tile<Element> tile_of(Element *data, const Windows &w) {
    return {data, w.height + 2 * w.padding, w.width + 2 * w.padding};
}

// A plane in global memory as its readers see it, with `around` around it.
struct View {
    const Tensor &tensor;
    Plane plane;
    Size start;
    const Windows &w;
    float around;

    __device__ float at(int y, int x) const {
        return w.inside(y, x) ? plane.apply(load(tensor, start + (y - w.padding) * w.width + x - w.padding)) : around;
    }
};

__device__ inline View view_of(const Values &x, const Windows &w, const Planes &planes, float around) {
    return {x.x, plane_of(x, planes.n(0), planes.c(0)), (Size)planes.first * w.plane(), w, around};
}

template <class Element> __device__ void clear(const Tile<Element> &tile, int planes, Element value) {
    for (int i = (int)threadIdx.x; i < planes * tile.size(); i += THREADS) {
        tile.data[i] = value;
    }
}

// Writes packs, each of which lies in one row, into the tiles of their planes.
template <int N>
__device__ void
spread(const Packs<N> &packs, const Pack<N> (&values)[PACKS], const Planes &planes, const Windows &w, const Tile<float> &tile) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        if (k < packs.count) {
            const Tile<float> plane = tile.plane(packs.n[k] * planes.channels + packs.c[k] - planes.first);
            int row = packs.p[k] / w.width, column = packs.p[k] - row * w.width;
            float *to = &plane.at(row + w.padding, column + w.padding);
#pragma unroll
            for (int j = 0; j < N; j++) {
                to[j] = values[k].at[j];
            }
        }
    }
}

__device__ inline Stretch stretch_of(const Planes &planes, int plane) {
    return stretch_of((Size)planes.first * plane, (Size)planes.count * plane, planes.channels, plane);
}

template <int N> __device__ void read_tile(const Values &x, const Planes &planes, const Windows &w, const Tile<float> &tile) {
    const Stretch stretch = stretch_of(planes, w.plane());
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> values[PACKS];
        load_packs(x.x, packs.at, values);
        apply_values(x, packs, values);
        spread(packs, values, planes, w, tile);
    }
}

// Reads planes as their readers see them. Leaves their padding as it is; threads have to meet
// before they read the tile.
__device__ void read_planes(const Values &x, const Planes &planes, const Windows &w, const Tile<float> &tile) {
    if (w.width % 4 == 0 && packable(x.x)) {
        read_tile<4>(x, planes, w, tile);
    } else {
        read_tile<1>(x, planes, w, tile);
    }
}

template <int N> __device__ void read_tile(const Gradients &dy, const Planes &planes, const Windows &w, const Tile<float> &tile) {
    const Stretch stretch = stretch_of(planes, w.plane());
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> values[PACKS], x[PACKS] = {};
        load_packs(dy.dy, packs.at, values);
        if (dy.mean) {
            load_packs(dy.x, packs.at, x);
        }
        apply_gradients(dy, packs, x, values);
        spread(packs, values, planes, w, tile);
    }
}

__device__ void read_planes(const Gradients &dy, const Planes &planes, const Windows &w, const Tile<float> &tile) {
    if (w.width % 4 == 0 && packable(dy.dy) && packable(dy.x)) {
        read_tile<4>(dy, planes, w, tile);
    } else {
        read_tile<1>(dy, planes, w, tile);
    }
}

// Calls `work` with every plane of a block and every place in it where `rows` outputs of one column
// begin.
template <class Work> __device__ void each_column(const Planes &planes, int height, int width, int rows, Work work) {
    const int groups = (height + rows - 1) / rows, places = groups * width;
    for (int i = (int)threadIdx.x; i < planes.count * places; i += THREADS) {
        int plane = (int)((unsigned)i / (unsigned)places), place = i - plane * places;
        int group = (int)((unsigned)place / (unsigned)width);
        work(plane, group * rows, place - group * width);
    }
}

// What a window holds; padding is `Reduction::nothing`.
template <class Reduction, class Image> __device__ float reduce_window(const Image &image, const Windows &w, int row, int column) {
    float found = Reduction::nothing();
    for (int ky = 0; ky < w.kernel; ky++) {
        for (int kx = 0; kx < w.kernel; kx++) {
            found = Reduction::join(found, image.at(row * w.stride + ky, column * w.stride + kx));
        }
    }
    return found;
}

// The same for the windows of 3 × 3 at `row` and below it. Those that lie beyond the plane come out
// as anything.
template <class Reduction> __device__ void reduce_column(const Tile<float> &image, int row, int column, float (&found)[ROWS]) {
#pragma unroll
    for (int o = 0; o < ROWS; o++) {
        found[o] = Reduction::nothing();
    }
#pragma unroll
    for (int r = 0; r < ROWS + 2; r++) {
        int y = row + r < image.height ? row + r : image.height - 1;
        float across = Reduction::join(Reduction::join(image.at(y, column), image.at(y, column + 1)), image.at(y, column + 2));
#pragma unroll
        for (int o = 0; o < ROWS; o++) {
            if (r >= o && r < o + 3) {
                found[o] = Reduction::join(found[o], across);
            }
        }
    }
}

// Calls `write` with plane, row, column and what the window there holds, for all windows of planes
// in a tile.
template <class Reduction, class Write>
__device__ void reduce_tile(const Tile<float> &tile, const Planes &planes, const Windows &w, Write write) {
    if (w.overlap_by_rows()) {
        each_column(planes, w.out_height, w.out_width, ROWS, [&](int plane, int row, int column) {
            float found[ROWS];
            reduce_column<Reduction>(tile.plane(plane), row, column, found);
#pragma unroll
            for (int o = 0; o < ROWS; o++) {
                if (row + o < w.out_height) {
                    write(plane, row + o, column, found[o]);
                }
            }
        });
    } else {
        each_column(planes, w.out_height, w.out_width, 1, [&](int plane, int row, int column) {
            write(plane, row, column, reduce_window<Reduction>(tile.plane(plane), w, row, column));
        });
    }
}

struct PoolForward {
    PoolSizes sizes;
    Size tiled;
    Values x;
    Tensor y;
};

// Calls `finish` with what every window holds, and its place, for what is then written.
template <class Reduction, class Finish> __device__ void pool_forward(const PoolForward &problem, int block, Finish finish) {
    __shared__ float data[FORWARD_TILE];
    const Windows w = windows_of(problem.sizes);
    const Planes planes = planes_of(problem.sizes, problem.tiled, block);
    auto write = [&](int plane, int row, int column, float found) {
        Size at = (Size)(planes.first + plane) * w.out_plane() + row * w.out_width + column;
        store(problem.y, at, finish(w, row, column, found));
    };
    if (problem.tiled) {
        const Tile<float> tile = tile_of(data, w);
        clear(tile, planes.count, Reduction::nothing());
        __syncthreads();
        read_planes(problem.x, planes, w, tile);
        __syncthreads();
        reduce_tile<Reduction>(tile, planes, w, write);
    } else {
        const View view = view_of(problem.x, w, planes, Reduction::nothing());
        each_column(planes, w.out_height, w.out_width, 1, [&](int plane, int row, int column) {
            write(plane, row, column, reduce_window<Reduction>(view, w, row, column));
        });
    }
}

MEMORY_KERNEL max_pool_forward(const PoolForward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    pool_forward<Maximum>(problem, block, [](const Windows &, int, int, float found) { return found; });
}

MEMORY_KERNEL avg_pool_forward(const PoolForward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    pool_forward<Sum>(problem, block, [](const Windows &w, int row, int column, float found) {
        return found * (1.0f / (float)w.size_at(row, column));
    });
}

// The first of the largest elements of a window, in the order of rows; its position is y · width +
// x of the padded plane. Before any was seen, it is the window's corner.
struct First {
    float value;
    int position;

    __device__ void see(float other, int at) {
        position = other > value ? at : position;
        value = other > value ? other : value;
    }
};

template <class Image> __device__ int first_maximum(const Image &image, const Windows &w, int row, int column) {
    const int width = w.width + 2 * w.padding, top = row * w.stride, left = column * w.stride;
    First found = {lowest(), top * width + left};
    for (int ky = 0; ky < w.kernel; ky++) {
        for (int kx = 0; kx < w.kernel; kx++) {
            found.see(image.at(top + ky, left + kx), (top + ky) * width + left + kx);
        }
    }
    return found.position;
}

// The same for the windows of 3 × 3 at `row` and below it.
__device__ inline void first_maxima(const Tile<float> &image, int row, int column, int (&positions)[ROWS]) {
    First found[ROWS];
#pragma unroll
    for (int o = 0; o < ROWS; o++) {
        found[o] = {lowest(), (row + o) * image.width + column};
    }
#pragma unroll
    for (int r = 0; r < ROWS + 2; r++) {
        int y = row + r < image.height ? row + r : image.height - 1, corner = y * image.width + column;
        First across = {image.at(y, column), corner};
        across.see(image.at(y, column + 1), corner + 1);
        across.see(image.at(y, column + 2), corner + 2);
#pragma unroll
        for (int o = 0; o < ROWS; o++) {
            if (r >= o && r < o + 3) {
                found[o].see(across.value, across.position);
            }
        }
    }
#pragma unroll
    for (int o = 0; o < ROWS; o++) {
        positions[o] = found[o].position;
    }
}

// Calls `add` with every output whose window holds a position of the padded plane.
template <class Add> __device__ void each_window(const Windows &w, int y, int x, Add add) {
    const int last_row = w.last_output(y, w.out_height), last_column = w.last_output(x, w.out_width);
    for (int row = w.first_output(y); row <= last_row; row++) {
        for (int column = w.first_output(x); column <= last_column; column++) {
            add(row, column);
        }
    }
}

// One plane of gradients in global memory, as those see it that carry it on.
struct GradientView {
    const Gradients &gradients;
    GradientPlane plane;
    Size start;
    int width;

    __device__ float at(int row, int column) const { return load(gradients, plane, start + row * width + column); }
};

__device__ inline GradientView view_of(const Gradients &dy, const Windows &w, const Planes &planes) {
    return {dy, plane_of(dy, planes.n(0), planes.c(0)), (Size)planes.first * w.out_plane(), w.out_width};
}

struct MaxPoolBackward {
    PoolSizes sizes;
    Size tiled;
    Values x;
    Gradients dy;
    Tensor dx;
};

// Planes in shared memory for the gradient of a maximum. `dy` and `chosen`, the position of the
// maximum of each window, are padded as the windows that carry gradients back need it, or not at
// all.
struct MaxTiles {
    Tile<float> x, dy;
    Tile<short> chosen;
    int border;
};

__device__ void choose(const MaxTiles &tiles, const Planes &planes, const Windows &w) {
    if (w.overlap_by_rows()) {
        each_column(planes, w.out_height, w.out_width, ROWS, [&](int plane, int row, int column) {
            int positions[ROWS];
            first_maxima(tiles.x.plane(plane), row, column, positions);
#pragma unroll
            for (int o = 0; o < ROWS; o++) {
                if (row + o < w.out_height) {
                    tiles.chosen.plane(plane).at(row + o + tiles.border, column + tiles.border) = (short)positions[o];
                }
            }
        });
    } else {
        each_column(planes, w.out_height, w.out_width, 1, [&](int plane, int row, int column) {
            tiles.chosen.plane(plane).at(row, column) = (short)first_maximum(tiles.x.plane(plane), w, row, column);
        });
    }
}

// The gradients of ROWS positions of a column from windows of 3 × 3, all of which may be read.
__device__ inline void gather_column(const MaxTiles &tiles, const Windows &w, int plane, int row, int column, float (&sum)[ROWS]) {
    const Tile<float> dy = tiles.dy.plane(plane);
    const Tile<short> chosen = tiles.chosen.plane(plane);
    int own = (row + w.padding) * tiles.x.width + column + w.padding;
#pragma unroll
    for (int o = 0; o < ROWS; o++) {
        sum[o] = 0.0f;
    }
#pragma unroll
    for (int r = 0; r < ROWS + 2; r++) {
        int y = row + r < dy.height ? row + r : dy.height - 1;
#pragma unroll
        for (int kx = 0; kx < 3; kx++) {
            int position = chosen.at(y, column + kx);
            float gradient = dy.at(y, column + kx);
#pragma unroll
            for (int o = 0; o < ROWS; o++) {
                if (r >= o && r < o + 3) {
                    sum[o] += position == own + o * tiles.x.width ? gradient : 0.0f;
                }
            }
        }
    }
}

__device__ inline float gather(const MaxTiles &tiles, const Windows &w, int plane, int y, int x) {
    float sum = 0.0f;
    each_window(w, y, x, [&](int row, int column) {
        if (tiles.chosen.plane(plane).at(row, column) == y * tiles.x.width + x) {
            sum += tiles.dy.plane(plane).at(row, column);
        }
    });
    return sum;
}

template <class Write>
__device__ void max_backward_tiled(const MaxPoolBackward &problem, const Planes &planes, const Windows &w, Write write) {
    __shared__ float x[BACKWARD_TILE], dy[BACKWARD_TILE];
    __shared__ short chosen[BACKWARD_TILE];
    // Without a stride, the outputs are a plane of their own that windows carry back; else each
    // position looks up those it needs.
    Windows back = turned(w);
    if (!w.overlap_by_rows()) {
        back.padding = 0;
    }
    const MaxTiles tiles = {tile_of(x, w), tile_of(dy, back), tile_of(chosen, back), back.padding};
    clear(tiles.x, planes.count, lowest());
    clear(tiles.dy, planes.count, 0.0f);
    clear(tiles.chosen, planes.count, (short)-1);
    __syncthreads();
    read_planes(problem.x, planes, w, tiles.x);
    read_planes(problem.dy, planes, back, tiles.dy);
    __syncthreads();
    choose(tiles, planes, w);
    __syncthreads();
    // The ReLU that x is read through is open where what came out of it is above zero.
    const bool relu = problem.x.relu;
    auto send = [&](int plane, int row, int column, float gradient) {
        bool open = !relu || tiles.x.plane(plane).at(row + w.padding, column + w.padding) > 0.0f;
        write(plane, row, column, open ? gradient : 0.0f);
    };
    if (w.overlap_by_rows()) {
        each_column(planes, w.height, w.width, ROWS, [&](int plane, int row, int column) {
            float sum[ROWS];
            gather_column(tiles, w, plane, row, column, sum);
#pragma unroll
            for (int o = 0; o < ROWS; o++) {
                if (row + o < w.height) {
                    send(plane, row + o, column, sum[o]);
                }
            }
        });
    } else {
        each_column(planes, w.height, w.width, 1, [&](int plane, int row, int column) {
            send(plane, row, column, gather(tiles, w, plane, row + w.padding, column + w.padding));
        });
    }
}

// From global memory: each position finds the maxima of its windows again.
template <class Write>
__device__ void max_backward_direct(const MaxPoolBackward &problem, const Planes &planes, const Windows &w, Write write) {
    const View x = view_of(problem.x, w, planes, lowest());
    const GradientView dy = view_of(problem.dy, w, planes);
    each_column(planes, w.height, w.width, 1, [&](int plane, int row, int column) {
        const int own_y = row + w.padding, own_x = column + w.padding, own = own_y * (w.width + 2 * w.padding) + own_x;
        float sum = 0.0f;
        each_window(w, own_y, own_x, [&](int out_row, int out_column) {
            if (first_maximum(x, w, out_row, out_column) == own) {
                sum += dy.at(out_row, out_column);
            }
        });
        write(plane, row, column, !x.plane.relu || x.at(own_y, own_x) > 0.0f ? sum : 0.0f);
    });
}

MEMORY_KERNEL max_pool_backward(const MaxPoolBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const Windows w = windows_of(problem.sizes);
    const Planes planes = planes_of(problem.sizes, problem.tiled, block);
    const Tensor dx = problem.dx;
    auto write = [&](int plane, int row, int column, float gradient) {
        store(dx, (Size)(planes.first + plane) * w.plane() + row * w.width + column, gradient);
    };
    if (problem.tiled) {
        max_backward_tiled(problem, planes, w, write);
    } else {
        max_backward_direct(problem, planes, w, write);
    }
}

struct AvgPoolBackward {
    PoolSizes sizes;
    Size tiled;
    Values gate;
    Gradients dy;
    Tensor dx;
};

// Divides each gradient by the number of elements that its window has: that is what each of them
// gets.
__device__ void share(const Tile<float> &tile, const Planes &planes, const Windows &w, int border) {
    each_column(planes, w.out_height, w.out_width, 1, [&](int plane, int row, int column) {
        tile.plane(plane).at(row + border, column + border) *= 1.0f / (float)w.size_at(row, column);
    });
}

MEMORY_KERNEL avg_pool_backward(const AvgPoolBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    __shared__ float data[FORWARD_TILE];
    const Windows w = windows_of(problem.sizes);
    const Planes planes = planes_of(problem.sizes, problem.tiled, block);
    const Tensor dx = problem.dx;
    const Values gate = problem.gate;
    auto write = [&](int plane, int row, int column, float gradient) {
        Size at = (Size)(planes.first + plane) * w.plane() + row * w.width + column;
        bool open = !gate.x.data || plane_of(gate, planes.n(plane), planes.c(plane)).open(load(gate.x, at));
        store(dx, at, open ? gradient : 0.0f);
    };
    if (problem.tiled) {
        const Windows back = turned(w);
        const Tile<float> tile = tile_of(data, back);
        clear(tile, planes.count, 0.0f);
        __syncthreads();
        read_planes(problem.dy, planes, back, tile);
        __syncthreads();
        share(tile, planes, w, back.padding);
        __syncthreads();
        reduce_tile<Sum>(tile, planes, back, write);
    } else {
        const GradientView dy = view_of(problem.dy, w, planes);
        each_column(planes, w.height, w.width, 1, [&](int plane, int row, int column) {
            float sum = 0.0f;
            each_window(w, row + w.padding, column + w.padding, [&](int out_row, int out_column) {
                sum += dy.at(out_row, out_column) * (1.0f / (float)w.size_at(out_row, out_column));
            });
            write(plane, row, column, sum);
        });
    }
}

struct GlobalAvgPoolForward {
    Size planes, plane;
    Tensor x, y;
};

// A warp sums up a plane.
MEMORY_KERNEL global_avg_pool_forward(const GlobalAvgPoolForward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const Tensor x = problem.x;
    const int plane = (int)problem.plane, lane = (int)threadIdx.x % WARP, i = block * (THREADS / WARP) + (int)threadIdx.x / WARP;
    const bool inside = i < (int)problem.planes;
    float sum = 0.0f;
    for (int element = lane; inside && element < plane; element += WARP) {
        sum += load(x, (Size)i * plane + element);
    }
    sum = warp_sum(sum);
    if (inside && lane == 0) {
        store(problem.y, i, sum / (float)plane);
    }
}

struct GlobalAvgPoolBackward {
    Size planes, plane;
    Tensor dy, dx;
};

template <int N> __device__ void global_avg_chunk(const GlobalAvgPoolBackward &problem, int block) {
    const Tensor dy = problem.dy, dx = problem.dx;
    const float plane = (float)problem.plane;
    const Stretch stretch = chunk_of(block, CHUNK, problem.planes * problem.plane, (int)problem.planes, (int)problem.plane);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> values[PACKS];
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            float each = load(dy, packs.c[k]) / plane;
#pragma unroll
            for (int j = 0; j < N; j++) {
                values[k].at[j] = each;
            }
        }
        store_packs(dx, packs.at, packs.count, values);
    }
}

MEMORY_KERNEL global_avg_pool_backward(const GlobalAvgPoolBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.plane % 4 == 0 && packable(problem.dx)) {
        global_avg_chunk<4>(problem, block);
    } else {
        global_avg_chunk<1>(problem, block);
    }
}
