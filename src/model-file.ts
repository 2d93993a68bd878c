/** A detector's model as a file, and what its file does not say. Between the model table (assets/) and the detector. */

export interface ModelFile {
  name: string;
  /** Path of the ONNX file. */
  path: string;
  /** Order of the three planes that the model was trained on. */
  channels: "rgb" | "bgr";
  /** Largest value of an input element: 1 (0 to 1) or 255 (0 to 255). */
  valueRange: 1 | 255;
  /** Longer side of the input, px, where the model's axes are open. A multiple of 32. */
  longSidePx: number;
  /** Names of the model's classes by their index. */
  classes: readonly string[];
}

/** What is looked for where a camera says nothing else. */
export const ROAD_USERS = ["person", "bicycle", "car", "motorcycle", "bus", "truck"] as const;

/** The 80 classes of COCO, in the order that every model of the table was trained with. */
export const COCO_CLASSES: readonly string[] = (
  "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter," +
  "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee," +
  "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass," +
  "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch," +
  "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink," +
  "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
).split(",");
