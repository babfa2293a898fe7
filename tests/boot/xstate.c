/*
 * Lets user-mode-linux run on processors with AMX: preloaded into it by the boot tests where it is needed.
 *
 * The kernel takes the registers of a traced process only in full (PTRACE_SETREGSET, NT_X86_XSTATE), and with AMX they are
 * longer than user-mode-linux before 6.13 knows. So what it sets is put into the full set, whose rest stays as it is.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#define XSTATE 0x202

long ptrace(enum __ptrace_request request, ...)
{
	static long (*real)(enum __ptrace_request, ...);
	static char full[65536];
	va_list rest;

	if (!real)
		real = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
	va_start(rest, request);
	pid_t pid = va_arg(rest, pid_t);
	void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
	va_end(rest);
	if (request == PTRACE_SETREGSET && address == (void *)XSTATE) {
		struct iovec *own = data, all = { full, sizeof full };
		if (real(PTRACE_GETREGSET, pid, address, &all) == 0 && all.iov_len > own->iov_len) {
			memcpy(full, own->iov_base, own->iov_len);
			return real(request, pid, address, &all);
		}
	}
	return real(request, pid, address, data);
}
