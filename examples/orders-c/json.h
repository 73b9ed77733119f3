// Reads and writes JSON (RFC 8259), without building a tree: a `json` points at a value inside
// the text. Check the whole text with json_parse first; the other functions rely on it.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const char *at, *end; } json;
typedef struct { char *ptr; size_t len; } text;

#define JSON_DEPTH_MAX 64

static const char *json_skip_value(const char *p, const char *end, int depth);

static const char *json_skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    return p;
}

// One UTF-8 sequence: no surrogates, nothing overlong, nothing over U+10FFFF.
static const char *json_skip_utf8(const char *p, const char *end) {
    uint8_t a = (uint8_t)p[0], b = end - p > 1 ? (uint8_t)p[1] : 0;
    int more = a < 0x80 ? 0 : a < 0xe0 ? 1 : a < 0xf0 ? 2 : 3;
    if (more && (a < 0xc2 || a > 0xf4 || (a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f)
                 || (a == 0xf0 && b < 0x90) || (a == 0xf4 && b > 0x8f))) return NULL;
    for (p++; more > 0; more--, p++)
        if (p >= end || (*p & 0xc0) != 0x80) return NULL;
    return p;
}

static const char *json_skip_string(const char *p, const char *end) {
    if (p >= end || *p++ != '"') return NULL;
    while (p && p < end && *p != '"') {
        if ((uint8_t)*p < 0x20) return NULL;
        if (*p != '\\') {
            p = json_skip_utf8(p, end);
            continue;
        }
        if (end - p < 2 || !memchr("\"\\/bfnrtu", p[1], 9)) return NULL;
        int digits = p[1] == 'u' ? 4 : 0;
        for (p += 2; digits > 0; digits--, p++)
            if (p >= end || !memchr("0123456789abcdefABCDEF", *p, 22)) return NULL;
    }
    return p && p < end ? p + 1 : NULL;
}

static const char *json_skip_digits(const char *p, const char *end) {
    const char *start = p;
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p > start ? p : NULL;
}

static const char *json_skip_number(const char *p, const char *end) {
    if (p < end && *p == '-') p++;
    if (p < end && *p == '0') p++;
    else if (!(p = json_skip_digits(p, end))) return NULL;
    if (p < end && *p == '.' && !(p = json_skip_digits(p + 1, end))) return NULL;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        p = json_skip_digits(p, end);
    }
    return p;
}

// The items of an array, or the members of an object; `p` is at the opening bracket.
static const char *json_skip_items(const char *p, const char *end, char close, int depth) {
    p = json_skip_space(p + 1, end);
    if (p < end && *p == close) return p + 1;
    for (;;) {
        if (close == '}') {
            p = json_skip_string(json_skip_space(p, end), end);
            if (!p || (p = json_skip_space(p, end)) >= end || *p++ != ':') return NULL;
        }
        p = json_skip_value(p, end, depth + 1);
        if (!p || p >= end || (*p != ',' && *p != close)) return NULL;
        if (*p++ == close) return p;
    }
}

static const char *json_skip_value(const char *p, const char *end, int depth) {
    p = json_skip_space(p, end);
    size_t rest = (size_t)(end - p);
    if (rest == 0 || depth > JSON_DEPTH_MAX) return NULL;
    if (*p == '{') p = json_skip_items(p, end, '}', depth);
    else if (*p == '[') p = json_skip_items(p, end, ']', depth);
    else if (*p == '"') p = json_skip_string(p, end);
    else if (rest >= 4 && !memcmp(p, "true", 4)) p += 4;
    else if (rest >= 5 && !memcmp(p, "false", 5)) p += 5;
    else if (rest >= 4 && !memcmp(p, "null", 4)) p += 4;
    else p = json_skip_number(p, end);
    return p ? json_skip_space(p, end) : NULL;
}

// Whether the `len` bytes are one JSON object; if so, `*object` is it.
static bool json_parse_object(const void *bytes, size_t len, json *object) {
    const char *start = bytes, *end = start + len;
    *object = (json){json_skip_space(start, end), end};
    return json_skip_value(start, end, 0) == end && *object->at == '{';
}

// Steps through an array: the first call takes the array, and leaves `*array` behind each item.
static bool json_next(json *array, json *item) {
    const char *p = json_skip_space(array->at, array->end);
    if (*p != '[' && *p != ',') return false;
    p = json_skip_space(p + 1, array->end);
    if (*p == ']') return false;
    *item = (json){p, array->end};
    array->at = json_skip_value(p, array->end, 0);
    return true;
}

// The member `name` of an object; names written with escapes are not found.
static bool json_get(json object, const char *name, json *value) {
    if (*object.at != '{') return false;
    for (const char *p = object.at; *p == '{' || *p == ',';) {
        const char *key = json_skip_space(p + 1, object.end);
        if (*key == '}') return false;
        const char *colon = json_skip_string(key, object.end);
        bool found = strlen(name) + 2 == (size_t)(colon - key) && !memcmp(key + 1, name, strlen(name));
        value->at = json_skip_space(json_skip_space(colon, object.end) + 1, object.end);
        value->end = object.end;
        if (found) return true;
        p = json_skip_value(value->at, object.end, 0);
    }
    return false;
}

static bool json_number(json value, double *number) {
    if (*value.at != '-' && (*value.at < '0' || *value.at > '9')) return false;
    *number = strtod(value.at, NULL); // a number inside an object never ends the text
    return true;
}

static uint32_t json_hex(const char *digits) {
    return (uint32_t)strtoul((char[]){digits[0], digits[1], digits[2], digits[3], 0}, NULL, 16);
}

static char *json_put_utf8(char *out, uint32_t code) {
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    int more = code >= 0x10000 ? 3 : code >= 0x800 ? 2 : code >= 0x80 ? 1 : 0;
    *out++ = (char)(lead[more] | code >> 6 * more);
    while (more--) *out++ = (char)(0x80 | (code >> 6 * more & 0x3f));
    return out;
}

// The string's text, in new memory.
static bool json_string(json value, text *string) {
    if (*value.at != '"') return false;
    const char *p = value.at + 1;
    char *out = string->ptr = malloc((size_t)(json_skip_string(value.at, value.end) - p));
    while (*p != '"') {
        if (*p != '\\') { *out++ = *p++; continue; }
        char escape = p[1];
        p += 2;
        if (escape == 'u') {
            uint32_t code = json_hex(p);
            p += 4;
            if (code >> 10 == 0x36 && p[0] == '\\' && p[1] == 'u' && json_hex(p + 2) >> 10 == 0x37) {
                code = 0x10000 + ((code & 0x3ff) << 10 | (json_hex(p + 2) & 0x3ff));
                p += 6;
            }
            out = json_put_utf8(out, code >> 11 == 0x1b ? 0xfffd : code); // half a pair
        } else {
            const char *plain = strchr("b\bf\fn\nr\rt\t", escape);
            *out++ = plain ? plain[1] : escape;
        }
    }
    string->len = (size_t)(out - string->ptr);
    return true;
}

static char *json_put(char *out, const char *plain) {
    size_t len = strlen(plain);
    return (char *)memcpy(out, plain, len) + len;
}

// At most 20 bytes.
static char *json_put_integer(char *out, long long number) {
    char digits[21] = {0}, *p = digits + 20;
    unsigned long long rest = number < 0 ? -(unsigned long long)number : (unsigned long long)number;
    do *--p = (char)('0' + rest % 10);
    while (rest /= 10);
    return json_put(json_put(out, number < 0 ? "-" : ""), p);
}

// Writes `string` with its quotes, at most 6 * len + 2 bytes; returns the end of what it wrote.
static char *json_put_string(char *out, text string) {
    *out++ = '"';
    for (size_t i = 0; i < string.len; i++) {
        unsigned char c = (unsigned char)string.ptr[i];
        const char *letter = c && c < ' ' ? strchr("\bb\ff\nn\rr\tt", c) : NULL;
        if (letter || c == '"' || c == '\\') *out++ = '\\';
        else if (c < ' ') out = json_put(out, c < 16 ? "\\u000" : "\\u001");
        *out++ = letter ? letter[1] : c < ' ' ? "0123456789abcdef"[c & 15] : (char)c;
    }
    *out++ = '"';
    return out;
}
