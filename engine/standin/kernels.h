// The kernels that were compiled for the host.
#pragma once

#include "blocks.h"

namespace standin {

// Null if there is no kernel of this name. They are in the folder `kernels` beside this library, in a library for every source file.
const Kernel *find_kernel(const char *name);

} // namespace standin
