/* RFC 6455, as much of it as a client needs. */
#include "load.h"

int ws_request(char *into, size_t size, int port, const char *path) {
    return snprintf(into, size,
                    "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    "Sec-WebSocket-Version: 13\r\n\r\n",
                    path, port);
}

size_t ws_masked(uint8_t *into, int opcode, const char *payload, size_t size) {
    static uint32_t seed = 2463534242u;
    seed ^= seed << 13; /* xorshift: any mask will do, it only must not stay the same */
    seed ^= seed >> 17;
    seed ^= seed << 5;
    uint8_t mask[4];
    memcpy(mask, &seed, 4);
    size_t at = 0;
    into[at++] = (uint8_t)(0x80 | opcode);
    if (size < 126) {
        into[at++] = (uint8_t)(0x80 | size);
    } else if (size < 1 << 16) {
        into[at++] = 0x80 | 126;
        into[at++] = (uint8_t)(size >> 8);
        into[at++] = (uint8_t)size;
    } else {
        into[at++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8) into[at++] = (uint8_t)((uint64_t)size >> shift);
    }
    memcpy(into + at, mask, 4);
    at += 4;
    uint64_t wide = seed | (uint64_t)seed << 32;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, payload + i, 8);
        word ^= wide;
        memcpy(into + at + i, &word, 8);
    }
    for (; i < size; i++) into[at + i] = (uint8_t)payload[i] ^ mask[i % 4];
    return at + size;
}

size_t ws_frame(const uint8_t *data, size_t size, int *opcode, const uint8_t **payload, size_t *length) {
    if (size < 2) return 0;
    size_t header = 2, body = data[1] & 0x7f;
    if (body == 126) {
        if (size < 4) return 0;
        body = (size_t)data[2] << 8 | data[3];
        header = 4;
    } else if (body == 127) {
        if (size < 10) return 0;
        body = 0;
        for (int i = 2; i < 10; i++) body = body << 8 | data[i];
        header = 10;
    }
    if (size < header + body) return 0;
    *opcode = data[0] & 0x0f;
    *payload = data + header;
    *length = body;
    return header + body;
}

/* The whole number after `key` (quotes and colon included), -1 if there is none. `hint` remembers
 * where the key stood last time: messages of one session look alike, so it mostly stands there. */
int64_t number_after(const char *data, size_t size, const char *key, int *hint) {
    size_t width = strlen(key);
    const char *found = NULL;
    if (*hint >= 0 && (size_t)*hint + width < size && !memcmp(data + *hint, key, width)) {
        found = data + *hint;
    } else {
        found = memmem(data, size, key, width);
        if (!found) return -1;
        *hint = (int)(found - data);
    }
    const char *digit = found + width, *end = data + size;
    while (digit < end && *digit == ' ') digit++;
    if (digit >= end || *digit < '0' || *digit > '9') return -1;
    int64_t value = 0;
    while (digit < end && *digit >= '0' && *digit <= '9') value = value * 10 + (*digit++ - '0');
    return value;
}
