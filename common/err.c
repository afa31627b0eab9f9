/* SPDX-License-Identifier: BSD-3-Clause */
#include <ramferry/err.h>

/* A switch without default over the enum, so that the compiler names a code that lacks words. */
static const char *words_of(enum rf_err err)
{
	switch (err) {
	case RF_OK:
		return "success";
	case RF_AGAIN:
		return "nothing now, try again";
	case RF_NO_RESOURCE:
		return "queue is full";
	case RF_IN_PROGRESS:
		return "in progress";
	case RF_ERR_INVALID:
		return "invalid argument";
	case RF_ERR_NO_MEMORY:
		return "out of memory";
	case RF_ERR_SYSTEM:
		return "system call failed";
	case RF_ERR_PERMISSION:
		return "permission denied";
	case RF_ERR_UNSUPPORTED:
		return "not supported here";
	case RF_ERR_BUSY:
		return "in use";
	case RF_ERR_STATE:
		return "not allowed in this state";
	case RF_ERR_NOT_FOUND:
		return "not found";
	case RF_ERR_MEMLOCK:
		return "locked-memory limit is too small";
	case RF_ERR_REMOTE_ACCESS:
		return "peer refused the remote access";
	case RF_ERR_LANE_TIMEOUT:
		return "lane timed out";
	case RF_ERR_LANE_CLOSED:
		return "lane closed";
	case RF_ERR_LANE:
		return "lane failed";
	case RF_ERR_REFUSED:
		return "connection refused";
	case RF_ERR_UNREACHABLE:
		return "host is unreachable";
	case RF_ERR_TIMEOUT:
		return "peer did not answer in time";
	case RF_ERR_PEER_GONE:
		return "peer is gone";
	case RF_ERR_PROTOCOL:
		return "peer broke the protocol";
	case RF_ERR_NOT_RAMFERRY:
		return "peer is not ramferry";
	case RF_ERR_VERSION:
		return "peer speaks another protocol version";
	case RF_ERR_MISMATCH:
		return "source and destination do not match";
	case RF_ERR_PEER_FAILED:
		return "peer reported an error";
	case RF_ERR_CANCELLED:
		return "cancelled";
	case RF_ERR_NOT_CONVERGED:
		return "time limit ran out before the migration converged";
	case RF_ERR_VERIFY:
		return "source and destination memory differ";
	case RF_ERR_GUEST:
		return "guest callback failed";
	case RF_ERR_GUEST_LOST:
		return "the source died in postcopy, the guest is lost";
	case RF_ERR_UNKNOWN_OUTCOME:
		return "link lost at switch-over, outcome unknown";
	}
	return "unknown error";
}

const char *rf_err_str(int err)
{
	return words_of((enum rf_err)err);
}
