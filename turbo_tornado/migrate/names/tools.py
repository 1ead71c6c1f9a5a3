"""The names of Turbo's modules for text, logging, hashes and data structures."""

from .row import Row, Section

PAGE = "migration/names-tools.md"

ESCAPE = Section(
    PAGE,
    "Escaping",
    "turbo.escape",
    (
        Row(
            "turbo.escape.json_encode(t)",
            "json_encode(value)",
            "Turbo encodes an empty table as `[]`. Python distinguishes `{}` and `[]`. `</` "
            r"becomes `<\/`, which is the same string. Has spaces after `,` and `:`, and escapes "
            "characters that are not ASCII: do not compare or sign the text.",
        ),
        Row(
            "turbo.escape.json_decode(s)",
            "json_decode(text)",
            "`null` is a key with the value `None`, not a missing key. Bytes are accepted.",
        ),
        Row(
            "turbo.escape.escape(s)",
            'urllib.parse.quote(text, safe="")',
            "Hexadecimal digits are upper case; `-`, `.` and `~` are unchanged. No second result.",
        ),
        Row("turbo.escape.unescape(s)", "url_unescape(text, plus=False)"),
        Row("turbo.escape.html_escape(s)", "xhtml_escape(text)", "`/` is unchanged."),
        Row(
            "turbo.escape.base64_encode(str, sz, disable_break)",
            "base64.b64encode(data)",
            "Bytes. Never inserts line breaks. Turbo does after 76 characters, by default.",
        ),
        Row("turbo.escape.base64_decode(str, sz)", "base64.b64decode(data)"),
        Row(
            "turbo.escape.trim(s); turbo.escape.ltrim(s); turbo.escape.rtrim(s)",
            "text.strip(); text.lstrip(); text.rstrip()",
        ),
    ),
)

LOG = Section(
    PAGE,
    "Logging",
    "turbo.log",
    (
        Row(
            "turbo.log.success(str); turbo.log.notice(str)",
            "app_log.info(text)",
            "Python has one level for both.",
        ),
        Row("turbo.log.warning(str)", "app_log.warning(text)"),
        Row("turbo.log.error(str)", "app_log.error(text)"),
        Row("turbo.log.debug(str); turbo.log.devel(str)", "app_log.debug(text)"),
        Row(
            "turbo.log.stacktrace(str)",
            "app_log.exception(text)",
            "In an `except` block. Adds the traceback; `traceback.format_exc()` is its text.",
        ),
        Row("turbo.log.stringify(t, name, indent)", "pprint.pformat(value)"),
        Row("turbo.log.dump(stuff, description)", "pprint.pprint(value)"),
        Row(
            "turbo.log.categories",
            "app_log.setLevel(logging.WARNING)",
            "The logger `turbo_tornado` has a line at INFO for each fetch.",
        ),
        Row("turbo.log.disable_all()", "logging.disable()"),
    ),
)

UTIL = Section(
    PAGE,
    "Utilities",
    "turbo.util",
    (
        Row(
            "turbo.util.gettimemonotonic()",
            "io_loop.time()",
            "**Seconds.** For `add_timeout`. To measure: `time.monotonic()`.",
        ),
        Row("turbo.util.gettimeofday()", "time.time()", "**Seconds, not milliseconds.**"),
        Row(
            "turbo.util.time_format_cookie(epoch); turbo.util.time_format_http_header(time_t)",
            "format_timestamp(time.time())",
            "Seconds. Turbo's second function takes milliseconds.",
        ),
        Row(
            "turbo.util.strsplit(str, sep, max, pattern)",
            "text.split(sep, 2)",
            "`max` is the number of splits in both. With `pattern`: `re.split`. An empty string "
            'gives `[""]`, in Turbo `{}`.',
        ),
        Row("turbo.util.strstrip(str)", "text.strip()"),
        Row("turbo.util.strsubstr(str, from, to)", "text[0:4]", "Counts from 0 in both."),
        Row("turbo.util.join(delimiter, list)", '", ".join(values)', "Only strings."),
        Row(
            "turbo.util.is_in(needle, haystack)",
            "value in values",
            "`False` if absent, not `nil`.",
        ),
        Row(
            "turbo.util.tablemerge(t1, t2)",
            "value.update(other)",
            "Turbo also merges the tables within. `value | other` is a new dict.",
        ),
        Row("turbo.util.funpack(t, i)", "func(*values)"),
        Row(
            "turbo.util.secure_random_bytes(n); turbo.util.rand_str(len)",
            "secrets.token_bytes(32); secrets.token_hex(32)",
            "`token_hex(32)` has 64 characters.",
        ),
        Row("turbo.util.file_exists(path)", "os.path.exists(path)"),
        Row("turbo.util.read_all(file)", "Path(path).read_bytes()", "Blocks the loop."),
        Row("turbo.util.hex(num)", 'format(number, "x")'),
        Row(
            "turbo.util.strcasecmp(str1, str2)",
            "text.casefold() == name.casefold()",
            "A bool. Turbo returns 0 for equal strings.",
        ),
        Row(
            "turbo.util.str_find(s, p, slen, plen); turbo.util.TBM(x, m, y, n)",
            "data.find(data)",
            "Returns -1 if absent.",
        ),
        Row("turbo.util.mem_dump(ptr, sz)", "data.hex(sep)"),
        Row("turbo.util.load_libtffi(name)", "", "Remove it: no library is necessary."),
    ),
)

HASH = Section(
    PAGE,
    "Hashes",
    "turbo.hash",
    (
        Row("SHA1(str)", "hashlib.sha1(data)", "Bytes: `text.encode()`."),
        Row("SHA1:update(str)", "hashlib.sha1().update(data)"),
        Row(
            "SHA1:finalize(); SHA1:final()",
            "hashlib.sha1().digest()",
            "Does not end the object. `final` is the documented name, `finalize` the real one.",
        ),
        Row("SHA1:hex()", "hashlib.sha1().hexdigest()"),
        Row("SHA1:__eq(cmp)", "hmac.compare_digest(data, data)", "Compare the digests."),
        Row(
            "turbo.hash.HMAC(key, digest, raw)",
            'hmac.new(key_bytes, data, "sha1").hexdigest()',
            "Key and data are bytes. With `raw`: `.digest()`.",
        ),
        Row("turbo.hash.SHA_DIGEST_LENGTH", "hashlib.sha1().digest_size"),
    ),
)

SECTIONS = (ESCAPE, LOG, UTIL, HASH)
