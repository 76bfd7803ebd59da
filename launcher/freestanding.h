/*
 * What these programs have in place of a C library: where the kernel starts them, which is `start`
 * with the first stack, and system calls, which return a negative errno where they fail.
 */
#include <stddef.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp; mov %rsp, %rdi; and $-16, %rsp; call start\n"
        "kernel: mov %rdi, %rax; mov %rsi, %rdi; mov %rdx, %rsi; mov %rcx, %rdx; mov %r8, %r10\n"
        "        mov %r9, %r8; mov 8(%rsp), %r9; syscall; ret\n");
#else /* 64-bit Arm; launcher/build refuses what is neither */
__asm__(".globl _start\n_start: mov x29, #0; mov x30, #0; mov x0, sp; bl start\n"
        "kernel: mov x8, x0; mov x0, x1; mov x1, x2; mov x2, x3; mov x3, x4; mov x4, x5\n"
        "        mov x5, x6; svc #0; ret\n");
#endif
long kernel(long number, long a, long b, long c, long d, long e, long f);
#define SYS(...) SYS_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define SYS_(name, a, b, c, d, e, f, ...) \
    kernel(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline size_t length(const char *text)
{
    size_t size = 0;
    while (text[size])
        size++;
    return size;
}

_Noreturn static inline void end_with(int status)
{
    for (;; SYS(exit_group, status))
        ;
}
