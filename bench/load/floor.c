/* The floor: one pre-framed buffer written to N sockets, one send each; a reader on another core.
 * Flat out, or a round so many times a second: a reader that has gone to sleep is dearer to write to. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    Source source;
    int fd;
} Reader;

static char *into;

static void drain(Source *source, uint32_t events) {
    (void)events;
    Reader *reader = (Reader *)source;
    ssize_t got = recv(reader->fd, into, READ_BYTES, MSG_DONTWAIT);
    if (got == 0) exit(0); /* the writer is done */
    if (got < 0 && errno != EAGAIN) exit(1);
}

static void read_all(int port, int sockets, int core) {
    pin(core);
    into = malloc(READ_BYTES);
    loop_fd = epoll_create1(0);
    Reader *readers = calloc((size_t)sockets, sizeof *readers);
    for (int i = 0; i < sockets; i++) {
        readers[i] = (Reader){{drain}, dial(port, 0)};
        loop_add(readers[i].fd, EPOLLIN, &readers[i].source);
    }
    for (;;) loop_run(now_us() + 1000000);
}

int run_floor(int sockets, int bytes, double seconds, double pace, int write_core, int read_core) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&at, &size);
    pid_t child = fork();
    if (child == 0) read_all(ntohs(at.sin_port), sockets, read_core);
    pin(write_core);
    int *to = malloc((size_t)sockets * sizeof *to), one = 1;
    for (int i = 0; i < sockets; i++) {
        to[i] = accept(listener, NULL, NULL);
        if (to[i] < 0) die("accept");
        setsockopt(to[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    char *frame = malloc((size_t)bytes);
    memset(frame, 'x', (size_t)bytes);
    uint64_t sends = 0, stalls = 0;
    int64_t begun = now_us(), end = begun + (int64_t)(seconds * 1e6), cpu = own_cpu_ns();
    for (int64_t round = 1; now_us() < end; round++) {
        for (int i = 0; i < sockets; i++) {
            ssize_t put = send(to[i], frame, (size_t)bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (put < 0 && errno == EAGAIN) {
                struct pollfd wait = {to[i], POLLOUT, 0};
                poll(&wait, 1, 1000);
                stalls++;
                i--;
                continue;
            }
            if (put < 0) die("send");
            sends++;
        }
        int64_t rest = pace > 0 ? begun + (int64_t)((double)round * 1e6 / pace) - now_us() : 0;
        if (rest > 0) usleep((useconds_t)rest);
    }
    double took = (double)(now_us() - begun) / 1e6, used = (double)(own_cpu_ns() - cpu) / 1e3;
    printf("{\"sockets\":%d,\"sends\":%llu,\"seconds\":%.4f,\"per_second\":%.0f,\"cpu_us\":%.4f,\"stalls\":%llu}\n",
           sockets, (unsigned long long)sends, took, (double)sends / took, used / (double)sends,
           (unsigned long long)stalls);
    fflush(stdout);
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
    return 0;
}
