/* SPDX-License-Identifier: BSD-3-Clause */
/* The frame around messages, and the small messages that any side may send. */
#include "common/wire.h"

#include "common/wire_io.h"

static const char *const type_names[RF_WIRE_TYPE_COUNT] = {
	[RF_WIRE_HELLO] = "hello",
	[RF_WIRE_HELLO_ACK] = "hello-ack",
	[RF_WIRE_REGIONS] = "regions",
	[RF_WIRE_REGIONS_ACK] = "regions-ack",
	[RF_WIRE_RUNG] = "rung",
	[RF_WIRE_RUNG_OFFER] = "rung-offer",
	[RF_WIRE_RUNG_FAIL] = "rung-fail",
	[RF_WIRE_LANES_UP] = "lanes-up",
	[RF_WIRE_KEY_REQ] = "key-req",
	[RF_WIRE_KEY] = "key",
	[RF_WIRE_ZERO] = "zero",
	[RF_WIRE_ROUND_END] = "round-end",
	[RF_WIRE_ROUND_ACK] = "round-ack",
	[RF_WIRE_DIGEST] = "digest",
	[RF_WIRE_DIGEST_END] = "digest-end",
	[RF_WIRE_DIGEST_RESULT] = "digest-result",
	[RF_WIRE_STATE] = "state",
	[RF_WIRE_STATE_LOADED] = "state-loaded",
	[RF_WIRE_RUN] = "run",
	[RF_WIRE_RUNNING] = "running",
	[RF_WIRE_PING] = "ping",
	[RF_WIRE_PONG] = "pong",
	[RF_WIRE_ERROR] = "error",
	[RF_WIRE_CANCEL] = "cancel",
	[RF_WIRE_MISSING] = "missing",
	[RF_WIRE_FREE] = "free",
	[RF_WIRE_LANDED] = "landed",
	[RF_WIRE_TRIAL] = "trial",
	[RF_WIRE_TRIAL_SEEN] = "trial-seen",
	[RF_WIRE_POSTCOPY] = "postcopy",
	[RF_WIRE_POSTCOPY_DONE] = "postcopy-done",
};

static bool is_type(uint32_t type)
{
	return type < RF_WIRE_TYPE_COUNT && type_names[type];
}

const char *rf_wire_type_str(uint32_t type)
{
	return is_type(type) ? type_names[type] : "unknown";
}

/* preamble = magic[8] major:u16 minor:u16 reserved:u32 */
void rf_wire_put_preamble(uint8_t out[RF_WIRE_PREAMBLE_SIZE], uint16_t major, uint16_t minor)
{
	memcpy(out, RF_WIRE_MAGIC, 8);
	put_le16(out + 8, major);
	put_le16(out + 10, minor);
	put_le32(out + 12, 0);
}

int rf_wire_get_preamble(const uint8_t in[RF_WIRE_PREAMBLE_SIZE], uint16_t *major, uint16_t *minor)
{
	if (memcmp(in, RF_WIRE_MAGIC, 8))
		return RF_ERR_NOT_RAMFERRY;
	*major = get_le16(in + 8);
	*minor = get_le16(in + 10);
	if (*major != RF_WIRE_MAJOR)
		return RF_ERR_VERSION;
	/* Another major version may use the reserved bytes; in ours nobody does. */
	return get_le32(in + 12) ? RF_ERR_NOT_RAMFERRY : RF_OK;
}

/* header = type:u32 len:u32 */
void rf_wire_put_header(uint8_t out[RF_WIRE_FRAME_HEADER], uint32_t type, uint32_t len)
{
	put_le32(out, type);
	put_le32(out + 4, len);
}

int rf_wire_get_header(const uint8_t in[RF_WIRE_FRAME_HEADER], uint32_t *type, uint32_t *len)
{
	uint32_t t = get_le32(in), n = get_le32(in + 4);

	if (!is_type(t) || n > RF_WIRE_MAX_PAYLOAD)
		return RF_ERR_PROTOCOL;
	*type = t;
	*len = n;
	return RF_OK;
}

/* status = err:i32 text:str */
void rf_wire_put_status(struct rf_wbuf *b, const struct rf_wire_status *st)
{
	uint8_t *p = put_room(b, status_size(st));

	if (p)
		put_status(p, st);
}

int rf_wire_get_status(const void *p, size_t len, struct rf_wire_status *st)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_status m;
	int rc;

	read_status(&r, &m);
	rc = read_done(&r);
	if (rc == RF_OK)
		*st = m;
	return rc;
}

/* round-end = round:u64 last:u32 reserved:u32 */
void rf_wire_put_round_end(struct rf_wbuf *b, uint64_t round, bool last)
{
	uint8_t *p = put_room(b, 16);

	if (!p)
		return;
	put_le64(p, round);
	put_le32(p + 8, last);
	put_le32(p + 12, 0);
}

int rf_wire_get_round_end(const void *p, size_t len, uint64_t *round, bool *last)
{
	struct reader r = reader_of(p, len);
	uint64_t n = read_u64(&r);
	uint32_t flag = read_u32(&r);
	int rc;

	read_check(&r, flag <= 1);
	read_check(&r, read_u32(&r) == 0);
	rc = read_done(&r);
	if (rc == RF_OK) {
		*round = n;
		*last = flag;
	}
	return rc;
}

/* round-ack, ping, pong = value:u64 */
void rf_wire_put_u64(struct rf_wbuf *b, uint64_t v)
{
	uint8_t *p = put_room(b, 8);

	if (p)
		put_le64(p, v);
}

int rf_wire_get_u64(const void *p, size_t len, uint64_t *v)
{
	struct reader r = reader_of(p, len);
	uint64_t n = read_u64(&r);
	int rc = read_done(&r);

	if (rc == RF_OK)
		*v = n;
	return rc;
}

int rf_wire_get_empty(const void *p, size_t len)
{
	return len ? RF_ERR_PROTOCOL : RF_OK;
}

void rf_wire_put_trial(struct rf_wbuf *b, uint32_t bytes)
{
	uint8_t *p = put_room(b, bytes);

	if (p)
		memset(p, 0, bytes);
}

int rf_wire_get_trial(const void *p, size_t len)
{
	(void)p;
	return len ? RF_OK : RF_ERR_PROTOCOL;
}
