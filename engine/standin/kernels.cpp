#include "kernels.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace standin {

namespace {

// What one source file was compiled to. It has its own library so that its shared memory, which is all that is thread-local in it, lies in
// one piece, and so that names that it shares with other files stay apart.
struct Library {
    void *handle;
    const void *base;
    char *(*shared_memory)();
    size_t shared_offset, shared_bytes;
};

const void *base_of(const void *address) {
    Dl_info info;
    return dladdr(address, &info) ? info.dli_fbase : nullptr;
}

std::filesystem::path folder() {
    Dl_info info;
    if (!dladdr((const void *)find_kernel, &info)) {
        abort();
    }
    return std::filesystem::absolute(info.dli_fname).parent_path() / "kernels";
}

// Finds how large the thread-local memory of a library is and where it begins for the calling thread.
int measure(dl_phdr_info *info, size_t, void *argument) {
    Library &library = *(Library *)argument;
    // Only once it is used does a thread have it.
    const char *variable = library.shared_memory();
    const char *begin = (const char *)info->dlpi_tls_data;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const auto &part = info->dlpi_phdr[i];
        if (part.p_type == PT_TLS && begin && begin <= variable && variable < begin + part.p_memsz) {
            library.shared_offset = (size_t)(variable - begin);
            library.shared_bytes = part.p_memsz;
            return 1;
        }
    }
    return 0;
}

Library open(const std::filesystem::path &file) {
    Library library = {};
    library.handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library.handle) {
        library.shared_memory = (char *(*)())dlsym(library.handle, "standin_shared_memory");
    }
    if (!library.shared_memory || !dl_iterate_phdr(measure, &library)) {
        const char *reason = dlerror();
        fprintf(stderr, "stand-in: %s: %s\n", file.c_str(), reason ? reason : "no library of kernels");
        abort();
    }
    library.base = base_of((const void *)library.shared_memory);
    return library;
}

std::vector<Library> open_all() {
    std::vector<Library> libraries;
    std::error_code none;
    for (const auto &entry : std::filesystem::directory_iterator(folder(), none)) {
        if (entry.path().extension() == ".so") {
            libraries.push_back(open(entry.path()));
        }
    }
    return libraries;
}

} // namespace

const Kernel *find_kernel(const char *name) {
    static const std::vector<Library> &libraries = *new std::vector<Library>(open_all());
    static auto &found = *new std::map<std::string, Kernel>;
    auto known = found.find(name);
    if (known != found.end()) {
        return &known->second;
    }
    for (const Library &library : libraries) {
        void *code = dlsym(library.handle, name);
        // A library also finds what it depends on: `send` of the C library is no kernel.
        if (code && base_of(code) == library.base) {
            Kernel kernel = {name, (KernelCode)code, library.shared_memory, library.shared_offset, library.shared_bytes};
            return &found.emplace(name, kernel).first->second;
        }
    }
    return nullptr;
}

} // namespace standin
