/*
 * A stand-in for NVIDIA's management library, with a machine that a text file describes. The file, named by the
 * environment variable STANDIN_NVML, else "machine" beside the library, is read anew at each call, so that a test changes
 * the machine while a program runs. Signatures are those of the public header (NVML API reference).
 *
 *   gpu INDEX UUID IDLE_MW            a device; its energy counter runs from the loading of the library
 *   proc INDEX PID SM_PERCENT MW [PART]  a process on it, with the power that it adds
 *   mps INDEX PID                     that process shares a context
 *   part INDEX NUMBER UUID SLICES     a part of a divided device
 *   fail FUNCTION CODE                that function returns CODE
 *   hang FUNCTION                     that function waits until the line is gone
 *   energy INDEX MILLIJOULES          the counter stands at this value
 *   counter INDEX FILE                the counter is what the file beside this one holds, in microjoules; where it holds no
 *                                     number reading fails with an unknown error, and without the file the device is lost
 *
 * Build with -DNO_COUNTER for a library that lacks the energy counter's function, with -DOLD for one that lacks those of
 * processes' use, of parts and of shared contexts too.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15, UNKNOWN = 999 };
enum { MAX = 16 };

typedef struct { unsigned pid; unsigned long long memory; unsigned gi, ci; } process_info;
typedef struct { unsigned pid; unsigned long long us; unsigned sm, mem, enc, dec; } utilization;
typedef struct { unsigned sm, copy, dec, enc, jpeg, ofa, gi_slices, ci_slices; unsigned long long memory; } attributes;

static struct { int there; char uuid[64]; double idle_mw; int fixed; unsigned long long fixed_mj; char counter[64]; } gpus[MAX];
static struct { int gpu, part; unsigned pid, sm; double mw; } procs[MAX];
static struct { int gpu, number; char uuid[64]; unsigned slices; } parts[MAX];
static struct { int gpu; unsigned pid; } shared[MAX];
static int n_procs, n_parts, n_shared, n_gpus;
static struct { char uuid[64]; double mj; } energies[4 * MAX];
static double last_s;

static double clock_s(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static double power_mw(int gpu)
{
	double sum = gpus[gpu].idle_mw;
	for (int i = 0; i < n_procs; i++)
		if (procs[i].gpu == gpu)
			sum += procs[i].mw;
	return sum;
}

/* The file that describes the machine. */
static const char *machine(void)
{
	static char beside[PATH_MAX];
	const char *named = getenv("STANDIN_NVML");
	Dl_info own;
	if (named)
		return named;
	if (!beside[0] && dladdr((void *)machine, &own)) {
		snprintf(beside, sizeof beside, "%s", own.dli_fname);
		char *end = strrchr(beside, '/');
		snprintf(end ? end + 1 : beside, 16, "machine");
	}
	return beside;
}

/* A counter that a file beside the machine's holds. */
__attribute__((unused)) static int counted(const char *name, unsigned long long *mj)
{
	char path[PATH_MAX], text[64] = "", *end;
	snprintf(path, sizeof path, "%s", machine());
	end = strrchr(path, '/');
	end = end ? end + 1 : path;
	snprintf(end, path + sizeof path - end, "%s", name);
	FILE *file = fopen(path, "r");
	if (!file)
		return LOST;
	size_t length = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[length] = 0;
	errno = 0;
	*mj = strtoull(text, &end, 10) / 1000;
	return errno || !isdigit((unsigned char)text[0]) || (*end && *end != '\n') ? UNKNOWN : OK;
}

/* What a device has used: its own, wherever it stands in the list. */
static double *energy_of(int gpu)
{
	int i = 0;
	while (i < 4 * MAX - 1 && energies[i].uuid[0] && strcmp(energies[i].uuid, gpus[gpu].uuid))
		i++;
	strcpy(energies[i].uuid, gpus[gpu].uuid);
	return &energies[i].mj;
}

/* Reads the file; gives the code that FUNCTION is to fail with, or -1 where it is to hang. */
static int load(const char *function)
{
	int code = OK, number, gpu;
	char line[256], word[64];
	double now = clock_s(CLOCK_MONOTONIC);
	for (gpu = 0; gpu < MAX; gpu++)
		if (gpus[gpu].there && last_s > 0)
			*energy_of(gpu) += power_mw(gpu) * (now - last_s);
	last_s = now;
	n_procs = n_parts = n_shared = n_gpus = 0;
	memset(gpus, 0, sizeof gpus);
	FILE *file = fopen(machine(), "r");
	while (file && fgets(line, sizeof line, file)) {
		double mw;
		unsigned pid, sm, slices;
		unsigned long long value;
		int part = -1;
		if (sscanf(line, "gpu %d %63s %lf", &gpu, word, &mw) == 3) {
			gpus[gpu].there = 1;
			gpus[gpu].idle_mw = mw;
			strcpy(gpus[gpu].uuid, word);
			if (gpu >= n_gpus)
				n_gpus = gpu + 1;
		} else if (sscanf(line, "proc %d %u %u %lf %d", &gpu, &pid, &sm, &mw, &part) >= 4) {
			procs[n_procs].gpu = gpu;
			procs[n_procs].pid = pid;
			procs[n_procs].sm = sm;
			procs[n_procs].mw = mw;
			procs[n_procs++].part = part;
		} else if (sscanf(line, "part %d %d %63s %u", &gpu, &number, word, &slices) == 4) {
			parts[n_parts].gpu = gpu;
			parts[n_parts].number = number;
			parts[n_parts].slices = slices;
			strcpy(parts[n_parts++].uuid, word);
		} else if (sscanf(line, "mps %d %u", &gpu, &pid) == 2) {
			shared[n_shared].gpu = gpu;
			shared[n_shared++].pid = pid;
		} else if (sscanf(line, "fail %63s %d", word, &number) == 2) {
			if (!strcmp(word, function))
				code = number;
		} else if (sscanf(line, "hang %63s", word) == 1) {
			if (!strcmp(word, function))
				code = -1;
		} else if (sscanf(line, "energy %d %llu", &gpu, &value) == 2) {
			gpus[gpu].fixed = 1;
			gpus[gpu].fixed_mj = value;
		} else if (sscanf(line, "counter %d %63s", &gpu, word) == 2) {
			strcpy(gpus[gpu].counter, word);
		}
	}
	if (file)
		fclose(file);
	return code;
}

static int enter(const char *function)
{
	int code;
	while ((code = load(function)) == -1)
		usleep(10000);
	return code;
}

#define ENTER int code = enter(__func__); if (code) return code
/* A handle is 1 + the number of a device, or 101 + the place of a part. */
#define DEVICE ENTER; long k = (long)handle - 1; if (k < 0 || (k < 100 && (k >= MAX || !gpus[k].there))) return INVALID

int nvmlInit_v2(void) { ENTER; return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stand-in"; }
int nvmlSystemGetDriverVersion(char *to, unsigned room) { ENTER; snprintf(to, room, "550.0"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { ENTER; *count = n_gpus; return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
	ENTER;
	if (index >= MAX || !gpus[index].there)
		return INVALID;
	*handle = (void *)(long)(index + 1);
	return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle)
{
	ENTER;
	for (int gpu = 0; gpu < MAX; gpu++)
		if (gpus[gpu].there && !strcmp(gpus[gpu].uuid, uuid)) {
			*handle = (void *)(long)(gpu + 1);
			return OK;
		}
	return NOT_FOUND;
}

int nvmlDeviceGetUUID(void *handle, char *to, unsigned room)
{
	DEVICE;
	snprintf(to, room, "%s", k >= 100 ? parts[k - 100].uuid : gpus[k].uuid);
	return OK;
}

int nvmlDeviceGetName(void *handle, char *to, unsigned room) { DEVICE; snprintf(to, room, "stand-in"); return OK; }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *mw) { DEVICE; *mw = 300000; return OK; }
int nvmlDeviceGetPowerUsage(void *handle, unsigned *mw) { DEVICE; *mw = (unsigned)power_mw(k); return OK; }

#if !defined NO_COUNTER && !defined OLD
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *out)
{
	DEVICE;
	if (gpus[k].counter[0])
		return counted(gpus[k].counter, out);
	*out = gpus[k].fixed ? gpus[k].fixed_mj : (unsigned long long)*energy_of(k);
	return OK;
}
#endif

static int divided(long gpu)
{
	for (int i = 0; i < n_parts; i++)
		if (parts[i].gpu == gpu)
			return 1;
	return 0;
}

#ifndef OLD
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *later) { DEVICE; *now = *later = divided(k); return OK; }
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { DEVICE; *count = 7; return OK; }

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned number, void **out)
{
	DEVICE;
	for (int i = 0; i < n_parts; i++)
		if (parts[i].gpu == k && parts[i].number == (int)number) {
			*out = (void *)(long)(101 + i);
			return OK;
		}
	return NOT_FOUND;
}

int nvmlDeviceGetAttributes_v2(void *handle, attributes *out)
{
	DEVICE;
	memset(out, 0, sizeof *out);
	out->gi_slices = out->ci_slices = k >= 100 ? parts[k - 100].slices : 7;
	return OK;
}

#endif

static int list(long k, unsigned *count, process_info *out, int want_shared)
{
	unsigned found = 0, room = *count;
	for (int i = 0; i < n_procs; i++) {
		int is_shared = 0, here = k >= 100 ? procs[i].gpu == parts[k - 100].gpu && procs[i].part == parts[k - 100].number : procs[i].gpu == k;
		for (int j = 0; j < n_shared; j++)
			is_shared |= shared[j].gpu == procs[i].gpu && shared[j].pid == procs[i].pid;
		if (!here || is_shared != want_shared)
			continue;
		if (out && found < room)
			out[found] = (process_info){ procs[i].pid, 1 << 20, 0xffffffffu, 0xffffffffu };
		found++;
	}
	*count = found;
	return found > room ? TOO_SMALL : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_info *out) { DEVICE; return list(k, count, out, 0); }
#ifndef OLD
int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *handle, unsigned *count, process_info *out) { DEVICE; return list(k, count, out, 1); }

int nvmlDeviceGetProcessUtilization(void *handle, utilization *out, unsigned *count, unsigned long long since)
{
	DEVICE;
	unsigned found = 0, room = out ? *count : 0;
	unsigned long long now = (unsigned long long)(clock_s(CLOCK_REALTIME) * 1e6);
	if (divided(k))
		return UNSUPPORTED;
	for (int i = 0; i < n_procs && now > since; i++) {
		if (procs[i].gpu != k || procs[i].sm == 0)
			continue;
		if (found < room)
			out[found] = (utilization){ procs[i].pid, now, procs[i].sm, 0, 0, 0 };
		found++;
	}
	*count = found;
	return !found ? NOT_FOUND : found > room ? TOO_SMALL : OK;
}

#endif

int nvmlDeviceGetUtilizationRates(void *handle, unsigned *out)
{
	DEVICE;
	if (divided(k))
		return UNSUPPORTED;
	out[0] = out[1] = 0;
	for (int i = 0; i < n_procs; i++)
		if (procs[i].gpu == k)
			out[0] += procs[i].sm;
	if (out[0] > 100)
		out[0] = 100;
	return OK;
}
