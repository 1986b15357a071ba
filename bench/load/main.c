/* Reads its orders from the arguments and then, one a line, from standard input:
 *
 *   go SECONDS         report and watch for so long, then until nothing is on its way; one result
 *   until SEQ SECONDS  wait until every spectator has reached SEQ
 *   hear SECONDS       let the deaf spectators read, until they are closed
 *   now hear           the same at once, while another order is being carried out; no answer
 *   quit
 *
 * Every answer is one line of JSON on standard output.
 */
#include "load.h"

#include <getopt.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SETTLE_SECONDS 20

static int server_pid = -1;
static double drain_seconds = 5;
static char order[256];
static int ordered;

static void on_order(Source *source, uint32_t events) {
    (void)source;
    (void)events;
    static char line[256];
    static size_t at;
    char c;
    ssize_t got = read(0, &c, 1);
    if (got <= 0) exit(0); /* whoever started us is gone */
    if (c != '\n' && at < sizeof line - 1) {
        line[at++] = c;
        return;
    }
    line[at] = 0;
    at = 0;
    if (!strcmp(line, "now hear")) { /* the one order that does not wait for another to end */
        spectators_hear();
        return;
    }
    memcpy(order, line, sizeof order);
    ordered = 1;
}

static Source orders = {on_order};

static void go(double seconds) {
    spectators_clear();
    reporters_clear();
    streams_clear();
    int64_t begun = now_us(), end = begun + (int64_t)(seconds * 1e6);
    int64_t cpu = process_cpu_ns(server_pid), own = own_cpu_ns(), writes = process_writes(server_pid);
    reporters_start();
    streams_start();
    while (now_us() < end) loop_run(end);
    double took = (double)(now_us() - begun) / 1e6;
    double used = (double)(process_cpu_ns(server_pid) - cpu) / 1e9, own_used = (double)(own_cpu_ns() - own) / 1e9;
    uint64_t in_time = spectators_messages();
    printf("{\"seconds\":%.4f,\"server_cpu\":%.5f,\"client_cpu\":%.5f,\"messages_in_time\":%llu,", took, used,
           own_used, (unsigned long long)in_time);
    printf("\"in_time\":{");
    reporters_print();
    printf(",");
    streams_print();
    printf("},");
    reporters_stop();
    streams_stop();
    int64_t limit = now_us() + (int64_t)(SETTLE_SECONDS * 1e6);
    while ((reporters_busy() || streams_busy()) && now_us() < limit) loop_run(now_us() + 1000);
    int64_t last = reporters_last_seq(0), stopped = now_us();
    limit = stopped + (int64_t)(drain_seconds * 1e6);
    while (last >= 0 && spectators_behind(last) && now_us() < limit) loop_run(now_us() + 1000);
    printf("\"drained\":%.4f,\"server_cpu_drained\":%.5f,\"writes\":%lld,\"took\":%.4f,", (double)(now_us() - stopped) / 1e6,
           (double)(process_cpu_ns(server_pid) - cpu) / 1e9, (long long)(process_writes(server_pid) - writes),
           (double)(now_us() - begun) / 1e6);
    spectators_print(last);
    printf(",");
    reporters_print();
    printf(",");
    streams_print();
    printf("}\n");
}

static void until(long long seq, double seconds, int64_t since_us) {
    int64_t limit = now_us() + (int64_t)(seconds * 1e6);
    while (spectators_behind(seq) && now_us() < limit) loop_run(limit);
    printf("{\"took\":%.4f,", (double)(now_us() - since_us) / 1e6);
    spectators_print(seq);
    printf("}\n");
}

static void hear(double seconds) {
    int64_t limit = now_us() + (int64_t)(seconds * 1e6);
    spectators_hear();
    while (spectators_deaf_left() && now_us() < limit) loop_run(now_us() + 10000);
    printf("{");
    spectators_print(-1);
    printf("}\n");
}

int main(int argc, char **argv) {
    enum { PORT, PID, CORE, DRAIN, SPECTATORS, PATH, SOCKETIO, SINCE, WINDOW, DEAF_ONES, STAMP, POST, BODIES,
           CONNS, RATE, STREAM, INFLIGHT, FLOOR, BYTES, SECONDS, READ_CORE, PACE };
    static const struct option known[] = {
        {"port", 1, 0, PORT}, {"pid", 1, 0, PID}, {"core", 1, 0, CORE}, {"drain", 1, 0, DRAIN},
        {"spectators", 1, 0, SPECTATORS}, {"path", 1, 0, PATH}, {"socketio", 1, 0, SOCKETIO},
        {"since", 1, 0, SINCE}, {"window", 1, 0, WINDOW}, {"deaf", 1, 0, DEAF_ONES}, {"stamp", 1, 0, STAMP},
        {"post", 1, 0, POST}, {"bodies", 1, 0, BODIES}, {"conns", 1, 0, CONNS}, {"rate", 1, 0, RATE},
        {"stream", 1, 0, STREAM}, {"in-flight", 1, 0, INFLIGHT}, {"floor", 1, 0, FLOOR},
        {"bytes", 1, 0, BYTES}, {"seconds", 1, 0, SECONDS}, {"read-core", 1, 0, READ_CORE},
        {"pace", 1, 0, PACE}, {0, 0, 0, 0}};
    int port = 0, core = -1, floor = 0, bytes = 600, read_core = -1, groups = 0;
    double seconds = 1, pace = 0;
    Watching watching = {.window = 64, .since = -1, .path = "/", .stamp_key = "\"current_reward\":"};
    Reporting reporting[8] = {0};
    Streaming streaming = {0};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        Reporting *last = groups ? &reporting[groups - 1] : NULL;
        switch (option) {
        case PORT: port = atoi(optarg); break;
        case PID: server_pid = atoi(optarg); break;
        case CORE: core = atoi(optarg); break;
        case DRAIN: drain_seconds = atof(optarg); break;
        case SPECTATORS: watching.count = atoi(optarg); break;
        case PATH: watching.path = optarg; break;
        case SOCKETIO: watching.socketio = 1; watching.session = optarg; break;
        case SINCE: watching.since = atoll(optarg); break;
        case WINDOW: watching.window = atoi(optarg); break;
        case DEAF_ONES: watching.deaf = atoi(optarg); break;
        case STAMP: watching.stamp_key = optarg; break;
        case POST:
            if (groups == 8) die("too many --post");
            reporting[groups++] = (Reporting){port, 1, 0, optarg, NULL};
            break;
        case STREAM: streaming.path = optarg; streaming.connections = 1; streaming.window = 4096; break;
        case BODIES: if (streaming.path) streaming.bodies = optarg; else if (last) last->bodies = optarg; break;
        case CONNS: if (streaming.path) streaming.connections = atoi(optarg); else if (last) last->connections = atoi(optarg); break;
        case RATE: if (last) last->rate = atof(optarg); break;
        case INFLIGHT: streaming.window = atoi(optarg); break;
        case FLOOR: floor = atoi(optarg); break;
        case BYTES: bytes = atoi(optarg); break;
        case SECONDS: seconds = atof(optarg); break;
        case PACE: pace = atof(optarg); break;
        case READ_CORE: read_core = atoi(optarg); break;
        default: return 2;
        }
    }
    if (floor) return run_floor(floor, bytes, seconds, pace, core, read_core);
    pin(core);
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    loop_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop_fd < 0) die("epoll_create");
    loop_add(0, EPOLLIN, &orders);
    watching.port = port;
    int64_t begun = now_us(), cpu = process_cpu_ns(server_pid);
    spectators_open(&watching);
    for (int i = 0; i < groups; i++) {
        reporting[i].port = port;
        reporters_add(&reporting[i]);
    }
    streaming.port = port;
    if (streaming.path) streams_add(&streaming);
    int64_t limit = begun + 120 * 1000000LL;
    while ((spectators_ready() + spectators_refused() < watching.count || (streaming.path && !streams_ready())) &&
           now_us() < limit)
        loop_run(limit);
    printf("{\"connect_seconds\":%.4f,\"server_cpu\":%.5f,\"ready\":%d,\"refused\":%d}\n",
           (double)(now_us() - begun) / 1e6, (double)(process_cpu_ns(server_pid) - cpu) / 1e9, spectators_ready(),
           spectators_refused());
    fflush(stdout);
    for (;;) {
        while (!ordered) loop_run(now_us() + 1000000);
        ordered = 0;
        double first = 0, second = 0;
        if (sscanf(order, "go %lf", &first) == 1) go(first);
        else if (sscanf(order, "until %lf %lf", &first, &second) == 2) until((long long)first, second, begun);
        else if (sscanf(order, "hear %lf", &first) == 1) hear(first);
        else return 0;
        fflush(stdout);
    }
}
