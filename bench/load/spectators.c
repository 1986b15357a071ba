/* Spectators: WebSocket or Socket.IO connections that count what they get and miss. */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SHAKING, GREETING, WATCHING_NOW, DEAF, GONE };

typedef struct {
    Source source;
    int fd, state, deaf, close_code, recovered, rooted;
    int64_t seq; /* the newest it has; -1 before it knows any */
    uint64_t gaps, doubles, heard_bytes;
    int64_t queued_bytes;
    uint8_t *carry;
    size_t carried, room;
} Spectator;

static Watching about;
static Spectator *all;
static int dialled, ready, refused, gone, errors;
static uint64_t messages, reads, bytes;
static Hist delay;
static uint8_t *buffer;
static int seq_hint = -1, stamp_hint = -1;

static void on_ready(Source *source, uint32_t events);

static void say(Spectator *who, int opcode, const char *text, size_t size) {
    uint8_t frame[512];
    size_t length = ws_masked(frame, opcode, text, size);
    if (send(who->fd, frame, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length) errors++;
}

static void dial_more(void) {
    int pending = dialled - ready - refused;
    while (dialled < about.count && pending < about.window) {
        Spectator *who = &all[dialled++];
        pending++;
        who->source.ready = on_ready;
        who->deaf = dialled <= about.deaf;
        who->seq = about.since;
        who->recovered = -1;
        who->fd = dial(about.port, 0);
        char path[512], request[1024];
        if (about.since >= 0)
            snprintf(path, sizeof path, "%s%csince=%lld", about.path, strchr(about.path, '?') ? '&' : '?',
                     (long long)about.since);
        else
            snprintf(path, sizeof path, "%s", about.path);
        int size = ws_request(request, sizeof request, about.port, path);
        if (send(who->fd, request, (size_t)size, MSG_NOSIGNAL) != size) die("send");
        loop_add(who->fd, EPOLLIN, &who->source);
    }
}

static void leave(Spectator *who) {
    if (who->state == GONE) return;
    gone++;
    refused += who->state == SHAKING || who->state == GREETING;
    who->state = GONE;
    close(who->fd);
    free(who->carry);
    who->carry = NULL;
    who->room = who->carried = 0;
    dial_more();
}

static void greeted(Spectator *who) {
    who->state = who->deaf ? DEAF : WATCHING_NOW;
    ready++;
    if (who->deaf) loop_change(who->fd, 0, &who->source);
    dial_more();
}

static void count(Spectator *who, const char *text, size_t size, int64_t seq, int64_t at) {
    messages++;
    if (who->seq >= 0 && seq != who->seq + 1) {
        if (seq <= who->seq) who->doubles++;
        else who->gaps += (uint64_t)(seq - who->seq - 1);
    }
    if (seq > who->seq) who->seq = seq;
    int64_t stamp = number_after(text, size, about.stamp_key, &stamp_hint);
    if (stamp >= STAMP_BASE) hist_add(&delay, at - (stamp - STAMP_BASE));
}

static void envelope(Spectator *who, const char *text, size_t size, int64_t at) {
    int64_t seq = number_after(text, size, "\"seq\":", &seq_hint);
    if (seq >= 0) {
        count(who, text, size, seq, at);
        return;
    }
    int none = -1;
    if (who->state == GREETING) {
        if (who->seq < 0) who->seq = number_after(text, size, "\"last_seq\":", &none);
        greeted(who);
    } else if (memmem(text, size, "\"recovered\":false", 17)) {
        who->recovered = 0;
        who->seq = number_after(text, size, "\"last_seq\":", &none);
    } else if (memmem(text, size, "\"recovered\":true", 16)) {
        who->recovered = 1;
    }
}

static void socketio(Spectator *who, const char *text, size_t size, int64_t at) {
    if (!size) return;
    if (text[0] == '0') {
        say(who, 1, "40", 2);
    } else if (text[0] == '2') {
        say(who, 1, "3", 1);
    } else if (size > 1 && text[0] == '4' && text[1] == '0') {
        char wish[300];
        int length = snprintf(wish, sizeof wish, "420[\"subscribe_training\",{\"session_id\":\"%s\"}]",
                              about.session);
        say(who, 1, wish, (size_t)length);
    } else if (size > 1 && text[0] == '4' && text[1] == '3') {
        if (who->state == GREETING) greeted(who);
    } else if (size > 1 && text[0] == '4' && text[1] == '4') { /* refused; the socket stays open */
        errors++;
        leave(who);
    } else if (size > 1 && text[0] == '4' && text[1] == '2') {
        int64_t seq = number_after(text, size, "\"seq\":", &seq_hint);
        if (seq >= 0) count(who, text, size, seq, at);
    }
}

static void take(Spectator *who, uint8_t *data, size_t size) {
    int64_t at = now_us();
    size_t used = 0;
    if (who->state == SHAKING) {
        uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
        if (end) {
            if (size < 12 || memcmp(data + 9, "101", 3)) {
                errors++;
                leave(who);
                return;
            }
            who->state = GREETING;
            used = (size_t)(end + 4 - data);
        }
    }
    while (who->state != SHAKING && who->state != GONE) {
        int opcode;
        const uint8_t *payload;
        size_t length, whole = ws_frame(data + used, size - used, &opcode, &payload, &length);
        if (!whole) break;
        used += whole;
        if (opcode == 1) {
            if (about.socketio) socketio(who, (const char *)payload, length, at);
            else envelope(who, (const char *)payload, length, at);
        } else if (opcode == 9) {
            say(who, 10, (const char *)payload, length);
        } else if (opcode == 8) {
            who->close_code = length >= 2 ? payload[0] << 8 | payload[1] : 1005;
            leave(who);
            return;
        }
    }
    if (who->state == GONE) return;
    who->carried = size - used;
    if (who->carried > who->room) {
        who->room = who->carried + 1024;
        who->carry = realloc(who->carry, who->room);
        if (!who->carry) die("realloc");
    }
    memcpy(who->carry, data + used, who->carried);
}

static void on_ready(Source *source, uint32_t events) {
    Spectator *who = (Spectator *)source;
    if (who->state == GONE) return;
    if (who->state == DEAF && !(events & EPOLLIN)) { /* cut off: nothing else is told of unasked */
        leave(who);
        return;
    }
    memcpy(buffer, who->carry, who->carried);
    ssize_t got = recv(who->fd, buffer + who->carried, READ_BYTES, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        leave(who);
        return;
    }
    reads++;
    bytes += (uint64_t)got;
    who->heard_bytes += (uint64_t)got;
    take(who, buffer, who->carried + (size_t)got);
}

void spectators_open(const Watching *watching) {
    about = *watching;
    all = calloc((size_t)about.count + 1, sizeof *all);
    buffer = malloc(READ_BYTES * 2 + (1 << 20));
    if (!all || !buffer) die("malloc");
    hist_open(&delay);
    dial_more();
}

int spectators_ready(void) { return ready; }
int spectators_refused(void) { return refused; }
uint64_t spectators_messages(void) { return messages; }

void spectators_clear(void) {
    messages = reads = bytes = 0;
    hist_clear(&delay);
    for (int i = 0; i < about.count; i++) {
        if (!all[i].deaf) all[i].heard_bytes = 0;
        all[i].gaps = all[i].doubles = 0;
    }
}

int spectators_behind(int64_t seq) {
    int behind = 0;
    for (int i = 0; i < about.count; i++)
        if (!all[i].deaf && all[i].state != GONE && all[i].seq < seq) behind++;
    return behind;
}

void spectators_hear(void) {
    for (int i = 0; i < about.count; i++) {
        Spectator *who = &all[i];
        if (who->state != DEAF) continue;
        int queued = 0;
        ioctl(who->fd, FIONREAD, &queued);
        who->queued_bytes = queued;
        who->heard_bytes = 0;
        loop_change(who->fd, EPOLLIN, &who->source);
    }
}

int spectators_deaf_left(void) {
    int left = 0;
    for (int i = 0; i < about.count; i++) left += all[i].deaf && all[i].state != GONE;
    return left;
}

void spectators_print(int64_t expected_seq) {
    uint64_t gaps = 0, doubles = 0, missing = 0;
    int whole = 0, lost = 0, recovered = 0;
    for (int i = 0; i < about.count; i++) {
        Spectator *who = &all[i];
        if (who->deaf) continue;
        gaps += who->gaps;
        doubles += who->doubles;
        if (expected_seq > who->seq && who->state != GONE) missing += (uint64_t)(expected_seq - who->seq);
        if (who->state == GONE) missing += expected_seq > who->seq ? (uint64_t)(expected_seq - who->seq) : 0;
        whole += !who->gaps && who->seq >= expected_seq;
        lost += who->recovered == 0;
        recovered += who->recovered == 1;
    }
    printf("\"spectators\":{\"ready\":%d,\"gone\":%d,\"errors\":%d,\"messages\":%llu,\"reads\":%llu,"
           "\"bytes\":%llu,\"gaps\":%llu,\"doubles\":%llu,\"missing\":%llu,\"whole\":%d,\"recovered\":%d,"
           "\"not_recovered\":%d,\"delay\":",
           ready, gone, errors, (unsigned long long)messages, (unsigned long long)reads,
           (unsigned long long)bytes, (unsigned long long)gaps, (unsigned long long)doubles,
           (unsigned long long)missing, whole, recovered, lost);
    hist_print(&delay);
    printf(",\"closed\":[");
    int first = 1;
    for (int i = 0; i < about.count; i++) {
        Spectator *who = &all[i];
        if (!who->deaf && who->close_code == 0) continue;
        printf("%s{\"deaf\":%d,\"code\":%d,\"gone\":%s,\"queued\":%lld,\"heard\":%llu}", first ? "" : ",",
               who->deaf, who->close_code, who->state == GONE ? "true" : "false",
               (long long)who->queued_bytes, (unsigned long long)who->heard_bytes);
        first = 0;
        if (i > 50 && !who->deaf) break;
    }
    printf("]}");
}
