"""The embedded dataset `scenes`: registered visible, infrared and label images of procedural street scenes.

The images follow MSRS: 8-bit RGB and grey, nine classes, stems that end in D by day and N by night.
"""

from decofuse.data.scenes.scene import Scene, generate_scene
from decofuse.data.scenes.write import write_scenes

__all__ = ["Scene", "generate_scene", "write_scenes"]
