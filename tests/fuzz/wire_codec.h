/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every message of the wire by a number: what fuzzing and the unit tests need to treat all of
 * them alike.
 */
#ifndef RF_TESTS_WIRE_CODEC_H
#define RF_TESTS_WIRE_CODEC_H

#include "common/wire.h"

/* Kinds of messages: payloads of frames by enum rf_wire_type, and what travels on lanes. */
enum {
	WIRE_KIND_LANE = RF_WIRE_TYPE_COUNT,
	WIRE_KIND_FENCE,
	WIRE_KIND_REQUEST,
	WIRE_KIND_ZERO_ANSWER,
	WIRE_KIND_ANNOUNCE,
	WIRE_KIND_COUNT,
};

const char *wire_kind_str(uint32_t kind);

/*
 * Decodes, visits every entry, and encodes again into out what was decoded. Returns what the
 * decoder said. The encoding is canonical: out must be the bytes that were decoded.
 */
int wire_recode(uint32_t kind, const void *p, size_t len, struct rf_wbuf *out);

/*
 * A valid message of a kind. Those with entries have as many as asked for (at least one, where
 * the message must have one).
 */
void wire_sample(uint32_t kind, unsigned entries, struct rf_wbuf *out);

#endif
