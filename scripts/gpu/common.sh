# What the scripts beside it share; sourced, not run.
# shellcheck shell=bash

bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
script=$(basename "$0")

# Files that come back from the GPU machine have to be smaller than this; what is not is split.
largest_file=$((16 << 20))

say() { printf '%s\n' "$*" >&2; }

# fail MESSAGE HINT [CODE]
fail() {
    say "$script: $1"
    say "hint: $2"
    exit "${3:-1}"
}

# The name of the first GPU, or the end of the script.
need_gpu() {
    local doctor name reason
    doctor=$("$bundle/adwp" doctor) \
        || fail "adwp does not start here" "the bundle is for Linux on x86-64; where a GLIBC is named above, build it on an older system"
    name=$(sed -n 's/^.*cuda:0, //p' <<<"$doctor")
    if [[ -z $name ]]; then
        reason=$(sed -n 's/^.*no GPU: //p' <<<"$doctor")
        fail "there is no GPU to compute on: ${reason:-adwp doctor names none}" "see what nvidia-smi says"
    fi
    printf '%s\n' "$name"
}

# split_into PARTS BYTES FROM FILE...: the files of a folder, one behind the other, as parts of at most so many bytes, with their sums.
# `unpack` puts them together again.
split_into() {
    local parts=$1 bytes=$2 from=$3
    shift 3
    rm -rf "$parts.new"
    mkdir -p "$parts.new"
    tar -C "$from" -cf - "$@" | split -b "$bytes" -a 3 -d - "$parts.new/part-" \
        || fail "$parts.new could not be written" "see the message above; it takes as much room as what is split"
    (cd "$parts.new" && sha256sum part-* >SHA256SUMS)
    rm -rf "$parts"
    mv "$parts.new" "$parts"
}

# Splits what of a run is too large to come back into its folder `parts`.
split_large() {
    local out=$1 large
    # Those of the call before are of older files.
    rm -rf "$out/parts" "$out/parts.new"
    mapfile -t large < <(cd "$out" && find . -type f -size "+$((largest_file - 1))c" | LC_ALL=C sort)
    ((${#large[@]})) || return 0
    split_into "$out/parts" $((largest_file - (1 << 20))) "$out" "${large[@]}"
    say "too large to come back in one piece, so in $out/parts as well: ${large[*]#./}"
}

# train "STEP..." DATA OUT [--max-minutes M] [OPTION...]: runs steps of adwp in the folder of a run, each to its end or the end of the time,
# and ends the script with the exit code of the last.
train() {
    local steps=$1 minutes='' options=() code=0 left data out gpu
    shift
    (($# >= 2)) || fail "there have to be two folders" "$script DATA OUT [--max-minutes M] [OPTION OF ADWP]..." 2
    data=$1 out=$2
    shift 2
    while (($#)); do
        case $1 in
            --max-minutes)
                (($# >= 2)) || fail "--max-minutes needs a number" "such as --max-minutes 9" 2
                minutes=$2
                shift
                ;;
            --max-minutes=*) minutes=${1#*=} ;;
            *) options+=("$1") ;;
        esac
        shift
    done
    [[ -z $minutes || $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] \
        || fail "--max-minutes $minutes is no number of minutes" "such as --max-minutes 9.5" 2
    [[ -d $data ]] || fail "there is no folder $data" "the first argument is the folder of CIFAR-10; unpack makes it of what pack made" 2
    gpu=$(need_gpu)
    say "$gpu"

    for step in $steps; do
        local bounded=() preset=()
        # The settings of a run that is there already are in its folder.
        [[ -f $out/config.toml ]] || preset=(--preset cifar10-8)
        if [[ -n $minutes ]]; then
            left=$(awk -v minutes="$minutes" -v seconds="$SECONDS" 'BEGIN { printf "%.3f", minutes - seconds / 60 }')
            if [[ $left == -* || $left == 0.000 ]]; then
                code=130
                break
            fi
            bounded=(--max-minutes "$left")
        fi
        say "== adwp $step"
        mkdir -p "$out"
        "$bundle/adwp" "$step" "${preset[@]}" --data "$data" --run "$out" --device cuda --resume "${bounded[@]}" "${options[@]}" || code=$?
        ((code == 0)) || break
    done

    [[ ! -d $out ]] || split_large "$out"
    case $code in
        0) say "$script: done; everything is in $out" ;;
        130) say "$script: stopped before the end; the same command goes on from here" ;;
        *) say "$script: adwp $step failed with exit code $code; its message is above" ;;
    esac
    exit "$code"
}
