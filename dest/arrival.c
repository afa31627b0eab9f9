/* SPDX-License-Identifier: BSD-3-Clause */
/* Postcopy as the session thread sees it: what is missing, arming, the last page. */
#include "common/log.h"
#include "dest/dest.h"

int rf_dest_take_missing(struct rf_dest *d, const struct rf_frame *f)
{
	struct rf_wire_missing m;
	int rc;

	if (!(d->hello.flags & RF_HELLO_POSTCOPY) || d->postcopy || d->device)
		return rf_dest_fail(d, RF_ERR_PROTOCOL,
				    "source tells missing pages where it must not");
	if (rf_wire_get_missing(f->payload, f->len, &m) != RF_OK)
		return rf_dest_malformed(d, f->type);
	if (!d->post.pages) {
		rc = rf_dst_postcopy_init(&d->post, d->by_source, d->nregions, d->lanes.wake_fd);
		if (rc != RF_OK)
			return rf_dest_fail(d, rc, "no memory for postcopy");
	}
	rc = rf_dst_postcopy_missing(&d->post, &m);
	return rc == RF_OK ? RF_OK : rf_dest_malformed(d, f->type);
}

static int take_announcement(void *arg, const void *data, uint32_t len)
{
	return rf_dst_postcopy_announced(arg, data, len);
}

/* From here on a touch of a missing page asks the source, also by whoever loads device state. */
int rf_dest_take_postcopy(struct rf_dest *d, const struct rf_frame *f)
{
	int rc;

	if (rf_wire_get_empty(f->payload, f->len) != RF_OK)
		return rf_dest_malformed(d, f->type);
	if (!(d->hello.flags & RF_HELLO_POSTCOPY) || d->postcopy || d->device || !d->nurgent)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source starts postcopy where it must not");
	if (!d->post.pages) { /* nothing is missing at all */
		rc = rf_dst_postcopy_init(&d->post, d->by_source, d->nregions, d->lanes.wake_fd);
		if (rc != RF_OK)
			return rf_dest_fail(d, rc, "no memory for postcopy");
	}
	if (d->hello.flags & RF_HELLO_LANDED) {
		rc = rf_dst_landed_init(&d->landed, &d->post);
		if (rc != RF_OK)
			return rf_dest_fail(d, rc, "no memory for what the source is told");
	}
	d->lanes.arg = &d->post;
	atomic_store(&d->lanes.on_message, take_announcement);
	d->post.plan = &d->plan;
	d->postcopy = true;
	rc = rf_dst_postcopy_arm(&d->post, d->urgent, d->nurgent);
	if (rc != RF_OK)
		return rf_dest_fail(d, rc, "postcopy cannot start: %s", rf_err_str(rc));
	rf_debug("dest", "postcopy: %llu host pages are missing",
		 (unsigned long long)d->post.total);
	return RF_OK;
}

/* Once the guest runs here: before, the source might still take it back. */
static void tell_landed(struct rf_dest *d)
{
	while (d->phase == RF_DST_POSTCOPY && rf_dst_landed_due(&d->landed, &d->post)) {
		struct rf_wbuf b;

		rf_wbuf_init(&b, d->reply, RF_WIRE_MAX_PAYLOAD);
		while (rf_dst_landed_next(&d->landed, &d->post, &b)) {
			/* Whoever reads the stream finds out that it is dead, and why. */
			if (rf_ctrl_send(d->ctrl, RF_WIRE_LANDED, b.data, (uint32_t)b.len) != RF_OK)
				return;
			b.len = 0;
		}
	}
}

int rf_dest_check_postcopy(struct rf_dest *d)
{
	int err;

	if (d->phase != RF_DST_POSTCOPY || !rf_dst_postcopy_done(&d->post)) {
		err = d->postcopy ? atomic_load(&d->post.error) : RF_OK;
		if (err != RF_OK)
			return rf_dest_fail(d, err, "%s", d->post.error_desc);
		tell_landed(d);
		return RF_OK;
	}
	/* The guest has all it needs, whatever becomes of this message. */
	if (rf_ctrl_send(d->ctrl, RF_WIRE_POSTCOPY_DONE, NULL, 0) != RF_OK)
		rf_warn("dest", "the source could not be told that all pages are here");
	err = rf_dst_postcopy_settle(&d->post);
	if (err != RF_OK)
		return rf_dest_fail(d, err, "pages that are here cannot be copied into the guest");
	d->phase = RF_DST_RUNNING;
	return RF_OK;
}
