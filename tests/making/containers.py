"""One clip in every container that FFmpeg can write, and its sound and pictures alone."""

from pathlib import Path

from making.clips import draw_clip, run_ffmpeg

VIDEOS = {
    "mp4": "-c copy -f mp4",
    "mp4-movie-first": "-c copy -movflags faststart -f mp4",
    "mp4-in-fragments": "-c copy -movflags frag_keyframe+empty_moov -f mp4",
    "mp4-av1": "-c:v libsvtav1 -an -f mp4",
    "m4v": "-c copy -f ipod",
    "mov": "-c copy -f mov",
    "3gp": "-c copy -f 3gp",
    "mkv": "-c copy -f matroska",
    "mkv-without-sound": "-c copy -an -f matroska",
    "webm": "-c:v libvpx -c:a libopus -f webm",
    "avi": "-c:v mpeg4 -c:a mp2 -f avi",
    "ts": "-c copy -f mpegts",
    "m2ts": "-c copy -mpegts_m2ts_mode 1 -f mpegts",
    "mpg": "-c:v mpeg2video -c:a mp2 -f mpeg",
    "vob": "-c:v mpeg2video -c:a mp2 -f vob",
    "m1v": "-c:v mpeg1video -an -f mpeg1video",
    "m2v": "-c:v mpeg2video -an -f mpeg2video",
    "flv": "-c:v flv -c:a aac -f flv",
    "wmv": "-c:v wmv2 -c:a wmav2 -f asf",
    "ogv": "-c:v libtheora -c:a libvorbis -f ogg",
    "ogg-vp8": "-c:v libvpx -an -f ogg",
    "rm": "-c:v rv10 -c:a ac3 -f rm",
    "wtv": "-c:v mpeg2video -c:a mp2 -f wtv",
    "dv": "-c:v dvvideo -s 720x576 -pix_fmt yuv420p -ar 48000 -ac 2 -f dv",
    "mxf": "-c:v mpeg2video -c:a pcm_s16le -ar 48000 -f mxf",
    "nut": "-c copy -f nut",
    "ivf": "-c:v libvpx -an -f ivf",
}
OTHERS = {
    "m4a": "-vn -c:a aac -f ipod",
    "mp4-of-sound": "-vn -c:a aac -f mp4",
    "mka": "-vn -c:a aac -f matroska",
    "weba": "-vn -c:a libopus -f webm",
    "wma": "-vn -c:a wmav2 -f asf",
    "ogg": "-vn -c:a libvorbis -f ogg",
    "opus": "-vn -c:a libopus -f ogg",
    "flv-of-sound": "-vn -c:a aac -f flv",
    "ra": "-vn -c:a ac3 -f rm",
    "mp3": "-vn -c:a libmp3lame -f mp3",
    "aac": "-vn -c:a aac -f adts",
    "flac": "-vn -c:a flac -f flac",
    "wav": "-vn -f wav",
    "gif": "-an -f gif",
    "avif": "-an -frames:v 1 -c:v libsvtav1 -f avif",
    "avif-that-moves": "-an -c:v libsvtav1 -f avif",
    "jpg": "-an -frames:v 1 -c:v mjpeg -update 1 -f image2",
    "png": "-an -frames:v 1 -c:v png -update 1 -f image2",
    "webp": "-an -frames:v 1 -c:v libwebp -f webp",
}


def write_containers(folder: Path) -> None:
    """Write every form of one clip, each under the name of its form alone."""
    clip = draw_clip(folder / "clip.mp4", seconds=0.4)
    outputs: list[str | Path] = []
    for name, options in (VIDEOS | OTHERS).items():
        outputs += ["-threads", "1", *options.split(), folder / name]
    run_ffmpeg("-i", clip, *outputs)
