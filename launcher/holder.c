/*
 * airlock-holder: the only program of a container that holds the network namespace of a replayed
 * job (docs/replay.md#the-sandbox). It makes sockets there and passes them on, sends to the kernel
 * what it is given, and gives up its capabilities before the job's container joins the namespace.
 * It runs in the job's image, of which it uses nothing: it has no C library, and reads no file but
 * the name of its own network namespace. It ends when the connection over which it is asked does.
 * With the arguments `directories UID GID PATH...` it makes these directories instead, in a volume
 * of the engine (bootstrap/replay/overlay.py).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "freestanding.h"

enum { SIZE = 64 << 10, PATIENCE = 5 }; /* bytes of a message; seconds for the kernel's answer */
enum { SOCKET = 1, LISTEN, SEND, RECEIVE, NAMESPACE, SEAL };

/* A request, whose numbers depend on the operation, and its answer: 0 or a negative errno. */
static struct { uint32_t operation; int32_t a, b, c; char content[SIZE]; } request;
static struct { int32_t result; char content[SIZE]; } answer;

static long netlink(int protocol)
{
    static long known[MAX_LINKS];
    if (protocol < 0 || protocol >= MAX_LINKS)
        return -EPROTONOSUPPORT;
    if (known[protocol] <= 0) {
        struct timeval limit = {PATIENCE, 0};
        known[protocol] = SYS(socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
        SYS(setsockopt, known[protocol], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    }
    return known[protocol];
}

static long listener(uint32_t address, int port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = __builtin_bswap16(port),
                               .sin_addr = {address}};
    long made = SYS(socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), failed;
    if (made < 0)
        return made;
    if ((failed = SYS(bind, made, &name, sizeof name)) || (failed = SYS(listen, made, 256))) {
        SYS(close, made);
        return failed;
    }
    return made;
}

/* This process has no capability left, and cannot get one. */
static long seal(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    long failed = SYS(prctl, PR_SET_NO_NEW_PRIVS, 1);
    return failed ? failed : SYS(capset, &head, none);
}

/* Answer; `passed` is a descriptor that goes with it, or negative. */
static void reply(long control, long result, long size, long passed)
{
    struct { size_t size; int level, type, descriptor; } rights = {
        offsetof(__typeof__(rights), descriptor) + sizeof(int), SOL_SOCKET, SCM_RIGHTS, passed};
    struct iovec content = {&answer, sizeof answer.result + size};
    struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1};
    if (passed >= 0)
        message.msg_control = &rights, message.msg_controllen = sizeof rights;
    answer.result = result;
    SYS(sendmsg, control, &message, MSG_NOSIGNAL);
    if (passed >= 0)
        SYS(close, passed);
}

static void serve(long control, long size)
{
    static int sealed;
    long result = -EPERM, passed = -1, read = 0;
    if (sealed) {
        reply(control, result, 0, -1);
        return;
    }
    switch (request.operation) {
    case SOCKET:
        result = passed = SYS(socket, request.a, request.b | SOCK_CLOEXEC, request.c);
        break;
    case LISTEN:
        result = passed = listener(request.a, request.b);
        break;
    case SEND:
        result = netlink(request.a);
        if (result >= 0)
            result = SYS(sendto, result, request.content, size, 0);
        break;
    case RECEIVE:
        result = netlink(request.a);
        if (result >= 0)
            result = read = SYS(recvfrom, result, answer.content, SIZE, 0);
        break;
    case NAMESPACE:
        result = read = SYS(readlinkat, AT_FDCWD, "/proc/self/ns/net", answer.content, SIZE);
        break;
    case SEAL:
        result = seal();
        sealed = result == 0;
        break;
    default:
        result = -ENOSYS;
    }
    reply(control, result < 0 ? result : 0, read > 0 ? read : 0, passed);
}

static unsigned number(const char *text)
{
    unsigned value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = 10 * value + (*text - '0');
    return value;
}

/* Make directories, for the user and the group that come before their paths. */
static int directories(char **arguments)
{
    unsigned user = number(arguments[0]), group = number(arguments[1]);
    for (arguments += 2; *arguments; arguments++)
        if (SYS(mkdirat, AT_FDCWD, *arguments, 0755)
                || SYS(fchownat, AT_FDCWD, *arguments, user, group, 0))
            return 1;
    return 0;
}

_Noreturn __attribute__((used)) static void start(long *stack)
{
    char **arguments = (char **)(stack + 1);
    if (stack[0] > 4) /* a path alone is that of the socket */
        end_with(directories(arguments + 2));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    long control = SYS(socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), size;
    for (size_t i = 0; stack[0] == 2 && arguments[1][i] && i < sizeof address.sun_path - 1; i++)
        address.sun_path[i] = arguments[1][i];
    if (SYS(connect, control, &address, sizeof address) == 0)
        while ((size = SYS(recvfrom, control, &request, sizeof request, 0)) != 0) {
            if (size == -EINTR)
                continue;
            if (size < (long)offsetof(__typeof__(request), content))
                break;
            serve(control, size - (long)offsetof(__typeof__(request), content));
        }
    end_with(0);
}
